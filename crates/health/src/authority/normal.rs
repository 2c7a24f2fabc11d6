//! What is normal for a service: how long a first byte takes, a gap between two tokens, and
//! when a second attempt beside a slow one pays.

use evenkeel_domain::Pool;
use evenkeel_domain::histogram::Snapshot;
use evenkeel_domain::settings::ServiceSettings;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Looks that make a window (one a second: the last 20 s).
const LOOKS: usize = 20;
/// Durations within the window below which all that ever were count.
const ENOUGH: u64 = 50;
/// Percentiles between which the hedge's trigger moves, in percent.
const HEDGE_PERCENTILES: std::ops::RangeInclusive<u32> = 90..=99;
/// A first token that comes within so many medians is no straggler: where all take about
/// the same, a hedge would be load without a gain.
const STRAGGLER: u32 = 2;

/// The last looks at one histogram.
#[derive(Default)]
struct Window(VecDeque<Snapshot>);

impl Window {
    fn push(&mut self, now: Snapshot) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// Takes a look; gives what was counted within the window, or ever while that is little.
    fn look(&mut self, now: Snapshot) -> Snapshot {
        let recent = self.0.front().map(|before| now.since(before));
        let recent = recent.filter(|w| w.count() >= ENOUGH).unwrap_or_else(|| now.clone());
        self.push(now);
        recent
    }
}

/// What has been learnt of one service.
pub(super) struct Normal {
    first_bytes: Window,
    gaps: Window,
    first_tokens: Window,
    /// Where the hedge's trigger stands.
    percentile: u32,
    /// Requests and hedges at the last look.
    counted: (u64, u64),
}

impl Default for Normal {
    fn default() -> Self {
        Self {
            first_bytes: Window::default(),
            gaps: Window::default(),
            first_tokens: Window::default(),
            percentile: 95,
            counted: (0, 0),
        }
    }
}

impl Normal {
    /// Learns from what a service did since the last look.
    pub(super) fn learn(&mut self, pool: &Pool, settings: &ServiceSettings) {
        let first_bytes = pool
            .members()
            .iter()
            .map(|r| r.live.first_byte.snapshot())
            .fold(Snapshot::default(), |sum, s| sum.plus(&s));
        if let Some(p99) = self.first_bytes.look(first_bytes).quantile(0.99) {
            pool.set_expected_first_byte(p99);
        }
        if let Some(p99) = self.gaps.look(pool.counts.gap.snapshot()).quantile(0.99) {
            pool.set_expected_gap(p99);
        }
        self.learn_hedge(pool, settings);
    }

    fn learn_hedge(&mut self, pool: &Pool, settings: &ServiceSettings) {
        let now = pool.counts.first_token.snapshot();
        let counted = (now.count(), pool.counts.hedges.load(Relaxed));
        let requests = counted.0.saturating_sub(self.counted.0);
        let hedges = counted.1.saturating_sub(self.counted.1);
        self.counted = counted;
        self.percentile = next_percentile(self.percentile, requests, hedges, &settings.hedge);
        let window = self.first_tokens.look(now);
        let enough = settings.hedge.enabled && window.count() >= ENOUGH;
        pool.set_hedge_after(enough.then(|| trigger(&window, self.percentile)).flatten());
    }
}

/// The lowest percentile that keeps extra requests within their share.
fn next_percentile(
    now: u32,
    requests: u64,
    hedges: u64,
    settings: &evenkeel_domain::settings::Hedge,
) -> u32 {
    let allowed = requests * u64::from(settings.max_percent);
    let next = match hedges * 100 {
        _ if requests == 0 => now,
        spent if spent > allowed => now + 1,
        spent if spent * 2 < allowed => now.saturating_sub(1),
        _ => now,
    };
    next.clamp(*HEDGE_PERCENTILES.start(), *HEDGE_PERCENTILES.end())
}

fn trigger(window: &Snapshot, percentile: u32) -> Option<Duration> {
    let late = window.quantile(f64::from(percentile) / 100.0)?;
    let median = window.quantile(0.5)?;
    Some(late.max(median.saturating_mul(STRAGGLER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::histogram::Histogram;
    use evenkeel_domain::settings::Hedge;

    #[test]
    fn the_trigger_follows_what_hedges_cost() {
        let hedge = Hedge::default();
        assert_eq!(next_percentile(95, 100, 10, &hedge), 96);
        assert_eq!(next_percentile(99, 100, 10, &hedge), 99);
        assert_eq!(next_percentile(95, 100, 4, &hedge), 95);
        assert_eq!(next_percentile(95, 100, 1, &hedge), 94);
        assert_eq!(next_percentile(90, 100, 0, &hedge), 90);
        assert_eq!(next_percentile(95, 0, 0, &hedge), 95);
    }

    #[test]
    fn equals_are_no_stragglers() {
        let even = Histogram::default();
        (0..100).for_each(|_| even.record(Duration::from_millis(10)));
        let after = trigger(&even.snapshot(), 95).unwrap();
        assert!(after >= Duration::from_millis(20), "{after:?}");
        let uneven = Histogram::default();
        (0..90).for_each(|_| uneven.record(Duration::from_millis(10)));
        (0..10).for_each(|_| uneven.record(Duration::from_millis(500)));
        assert!(trigger(&uneven.snapshot(), 95).unwrap() >= Duration::from_millis(500));
        assert!(trigger(&uneven.snapshot(), 90).unwrap() < Duration::from_millis(50));
    }

    #[test]
    fn a_window_forgets() {
        let histogram = Histogram::default();
        let mut window = Window::default();
        (0..100).for_each(|_| histogram.record(Duration::from_secs(9)));
        window.look(histogram.snapshot());
        let mut last = Snapshot::default();
        for _ in 0..LOOKS {
            (0..10).for_each(|_| histogram.record(Duration::from_millis(1)));
            last = window.look(histogram.snapshot());
        }
        assert!(last.quantile(1.0).unwrap() < Duration::from_millis(10));
    }
}
