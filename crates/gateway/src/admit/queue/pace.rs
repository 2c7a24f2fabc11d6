//! How fast those who wait get a place.

use std::time::{Duration, Instant};

/// Places are counted over so long: they come in bunches.
const SPAN: Duration = Duration::from_secs(1);
/// Places within that time that make a pace; with fewer, single gaps are averaged.
const MANY: u32 = 8;
/// Weight of the newest gap.
const WEIGHT: f64 = 0.125;
/// Gaps before their mean says something.
const ENOUGH: u32 = 4;
/// After so long without a place things have got slower than they were.
const STALLED: Duration = Duration::from_secs(2);
/// A pace older than this says nothing of now.
const OLD: Duration = Duration::from_secs(10);

/// The time between two places while somebody waits.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when somebody has waited at every moment, as far as places tell.
    standing: Option<Instant>,
    last: Option<Instant>,
    gap: f64,
    gaps: u32,
    /// Places of the span before this one, and of this one, which began then.
    before: u32,
    now: u32,
    span: Option<Instant>,
}

impl Pace {
    /// A place was given; whether others wait on.
    pub(super) fn given(&mut self, others: bool, now: Instant) {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        if since.is_none_or(|since| since > OLD) {
            *self = Self::default();
        }
        if let Some(since) = since.filter(|_| self.standing.is_some()) {
            self.gaps += 1;
            // The first few count more: they are all that is known.
            let weight = WEIGHT.max(1.0 / f64::from(self.gaps));
            self.gap += (since.as_secs_f64() - self.gap) * weight;
        }
        self.turn_span(now);
        self.now += 1;
        self.last = Some(now);
        self.standing = others.then(|| self.standing.unwrap_or(now));
        if !others {
            (self.before, self.now, self.span) = (0, 0, None);
        }
    }

    fn turn_span(&mut self, now: Instant) {
        let began = *self.span.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= SPAN {
            self.before = if age < 2 * SPAN { self.now } else { 0 };
            (self.now, self.span) = (0, Some(now));
        }
    }

    /// How long one waits behind `ahead` others; `otherwise` is the time between two places
    /// where that was not seen yet. `None` when nothing is known.
    pub(super) fn wait(
        &self,
        ahead: usize,
        otherwise: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        let since = self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let seen = if since < OLD { self.counted(now).or_else(|| self.averaged()) } else { None };
        let mut gap = seen.or(otherwise)?;
        if self.standing.is_some() && since > STALLED {
            gap = gap.max(since);
        }
        let turns = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
        Some(gap.saturating_mul(turns))
    }

    fn counted(&self, now: Instant) -> Option<Duration> {
        let began = self.span?;
        let whole = if self.before > 0 { SPAN } else { Duration::ZERO };
        let span = now.saturating_duration_since(began) + whole;
        let count = self.before + self.now;
        (count >= MANY && span >= SPAN).then(|| span / count)
    }

    fn averaged(&self) -> Option<Duration> {
        (self.gaps >= ENOUGH).then(|| Duration::from_secs_f64(self.gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_wait_follows_the_pace_and_notices_when_it_stops() {
        let (mut pace, begin) = (Pace::default(), clock::now());
        assert_eq!(pace.wait(3, None, begin), None);
        assert_eq!(pace.wait(3, Some(ms(10)), begin), Some(ms(40)));
        for n in 0..8 {
            pace.given(true, begin + ms(500 * n));
        }
        let now = begin + ms(3500);
        let wait = pace.wait(4, Some(ms(1)), now).unwrap();
        assert!(wait.abs_diff(ms(2500)) < ms(10), "{wait:?}");
        assert_eq!(pace.wait(0, None, now + ms(3000)), Some(ms(3000)));
    }

    #[test]
    fn bunches_are_averaged() {
        let (mut pace, begin) = (Pace::default(), clock::now());
        for n in 0..10 {
            (0..48).for_each(|_| pace.given(true, begin + ms(300 * n)));
            let wait = pace.wait(225, Some(ms(6)), begin + ms(300 * n + 299)).unwrap();
            assert!(wait < ms(3500), "{n}: {wait:?}");
        }
    }

    #[test]
    fn a_pause_while_nobody_waits_is_no_pace() {
        let (mut pace, begin) = (Pace::default(), clock::now());
        for n in 0..10 {
            pace.given(false, begin + ms(1000 * n));
        }
        assert_eq!(pace.wait(0, Some(ms(7)), begin + ms(9500)), Some(ms(7)));
    }
}
