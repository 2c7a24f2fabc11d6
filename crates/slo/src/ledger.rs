//! What was counted for one service, by minute and by hour, and sums over the last so long.

use evenkeel_domain::slo::{Axis, Kept, Tally};
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds of a minute.
pub const MINUTE_MS: u64 = 60_000;
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Minutes that are kept: the longest window of a burn-rate rule is three days. Some 300 kB a
/// service.
pub const MINUTES: u64 = 3 * 1440 + 60;
/// Hours that are kept: a year and a month. Some 700 kB a service.
pub const HOURS: u64 = 400 * 24;

/// A sum over the last so long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// What was counted.
    pub tally: Tally,
    /// How much of the window lies behind us since the service is known, in milliseconds.
    pub elapsed_ms: u64,
}

impl Window {
    /// Of which it is not known what it was: nobody looked.
    #[must_use]
    pub const fn unknown_ms(&self) -> u64 {
        self.elapsed_ms.saturating_sub(self.tally.known_ms())
    }
}

/// The account of one service.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    since_ms: Axis,
    minutes: BTreeMap<u64, Tally>,
    hours: BTreeMap<u64, Tally>,
    total: Tally,
}

impl Ledger {
    /// One that begins now.
    #[must_use]
    pub fn new(since_ms: Axis) -> Self {
        Self { since_ms, ..Self::default() }
    }

    /// As it was kept.
    #[must_use]
    pub fn of(kept: Kept) -> Self {
        Self {
            since_ms: kept.since_ms,
            minutes: kept.minutes.into_iter().collect(),
            hours: kept.hours.into_iter().collect(),
            total: kept.total,
        }
    }

    /// Since when the service is known.
    #[must_use]
    pub const fn since_ms(&self) -> Axis {
        self.since_ms
    }

    /// All that was ever counted; of the time before [`Ledger::since_ms`] nothing is known.
    #[must_use]
    pub fn total(&self, now: Axis) -> Window {
        Window { tally: self.total, elapsed_ms: now.saturating_sub(self.since_ms) }
    }

    /// Adds what was counted in a minute.
    pub fn add(&mut self, minute: u64, more: Tally) {
        *self.minutes.entry(minute).or_default() += more;
        *self.hours.entry(minute / 60).or_default() += more;
        self.total += more;
    }

    pub(crate) fn set_minute(&mut self, minute: u64, to: Tally) {
        self.minutes.insert(minute, to);
    }

    pub(crate) fn set_hour(&mut self, hour: u64, to: Tally) {
        self.hours.insert(hour, to);
    }

    pub(crate) fn set_total(&mut self, to: Tally) {
        self.total = to;
    }

    /// Whether nothing is left but the total.
    pub(crate) fn is_bare(&self) -> bool {
        self.hours.is_empty()
    }

    /// Forgets what is too old.
    pub fn trim(&mut self, now: Axis) {
        let (minute, hour) = (oldest_minute(now), oldest_hour(now));
        while self.minutes.first_key_value().is_some_and(|(at, _)| *at < minute) {
            self.minutes.pop_first();
        }
        while self.hours.first_key_value().is_some_and(|(at, _)| *at < hour) {
            self.hours.pop_first();
        }
    }

    /// What was counted in the last `span`: by minutes up to three days, beyond that by hours.
    /// The oldest minute or hour counts only if all of it lies within, so the sum is of a
    /// little less than `span` rather than of more.
    #[must_use]
    pub fn window(&self, now: Axis, span: Duration) -> Window {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (of, unit) = match span_ms / MINUTE_MS <= MINUTES {
            true => (&self.minutes, MINUTE_MS),
            false => (&self.hours, HOUR_MS),
        };
        let first = now.saturating_sub(span_ms).div_ceil(unit);
        let tally = of.range(first..).map(|(_, tally)| *tally).sum();
        let begin = (first * unit).max(self.since_ms);
        Window { tally, elapsed_ms: now.saturating_sub(begin) }
    }
}

/// The oldest minute that is kept.
#[must_use]
pub const fn oldest_minute(now: Axis) -> u64 {
    (now / MINUTE_MS).saturating_sub(MINUTES)
}

/// The oldest hour that is kept.
#[must_use]
pub const fn oldest_hour(now: Axis) -> u64 {
    (now / HOUR_MS).saturating_sub(HOURS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn up(ms: u64) -> Tally {
        Tally { up_ms: ms, good: 1, ..Tally::default() }
    }

    #[test]
    fn what_nobody_saw_is_unknown() {
        let start = 1_000 * HOUR_MS;
        let mut ledger = Ledger::new(start);
        ledger.add(start / MINUTE_MS, up(MINUTE_MS));
        let later = start + 10 * MINUTE_MS;
        ledger.add(later / MINUTE_MS - 1, up(MINUTE_MS));
        let hour = ledger.window(later, Duration::from_secs(3600));
        assert_eq!((hour.tally.up_ms, hour.elapsed_ms), (2 * MINUTE_MS, 10 * MINUTE_MS));
        assert_eq!(hour.unknown_ms(), 8 * MINUTE_MS);
        let five = ledger.window(later, Duration::from_secs(300));
        assert_eq!((five.tally.good, five.unknown_ms()), (1, 4 * MINUTE_MS));
        assert_eq!(ledger.total(later).unknown_ms(), 8 * MINUTE_MS);
        let month = ledger.window(later, Duration::from_secs(30 * 86_400));
        assert_eq!((month.tally.good, month.unknown_ms()), (2, 8 * MINUTE_MS));
    }

    #[test]
    fn what_is_too_old_goes_and_the_total_stays() {
        let mut ledger = Ledger::new(0);
        ledger.add(0, up(1));
        let now = (HOURS + 2) * HOUR_MS;
        ledger.add(now / MINUTE_MS, up(1));
        ledger.trim(now);
        assert_eq!((ledger.minutes.len(), ledger.hours.len()), (1, 1));
        assert_eq!(ledger.total(now).tally.good, 2);
    }

    proptest! {
        #[test]
        fn longer_windows_hold_shorter_ones(adds in proptest::collection::vec((0u64..9_000, 0u64..60_000), 1..60)) {
            let base = 10_000_000u64;
            let mut ledger = Ledger::new(base * MINUTE_MS);
            for (minute, ms) in &adds {
                ledger.add(base + minute, up(*ms));
            }
            let now = (base + 9_000) * MINUTE_MS;
            let spans = [300u64, 1800, 3600, 7200, 21_600, 86_400, 259_200, 2_592_000];
            let sums: Vec<u64> =
                spans.iter().map(|s| ledger.window(now, Duration::from_secs(*s)).tally.up_ms).collect();
            prop_assert!(sums.is_sorted());
            prop_assert_eq!(*sums.last().unwrap(), ledger.total(now).tally.up_ms);
        }
    }
}
