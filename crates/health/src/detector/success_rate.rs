//! Too small a share of good attempts over a window. Faults that came all at once are one
//! event, however many they are: those in a row have a detector of their own.

use super::{Detector, Verdict};
use evenkeel_domain::settings::Ejection;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Tallies kept at most: one a sweep.
const KEPT: usize = 256;
/// Processes pause for up to 2.5 s and go on.
const PAUSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct SuccessRate {
    tallies: VecDeque<(Instant, u64, u64)>,
    window: Duration,
    percent: u32,
    minimum: u32,
}

impl SuccessRate {
    pub(super) fn new(ejection: &Ejection) -> Self {
        Self {
            tallies: VecDeque::new(),
            window: ejection.window,
            percent: ejection.success_percent,
            minimum: ejection.min_attempts,
        }
    }
}

impl SuccessRate {
    /// How long it is from the first fault within the window to the last.
    fn spread(&self, now: Instant) -> Duration {
        let pairs = self.tallies.iter().zip(self.tallies.iter().skip(1));
        let rises = pairs.filter(|(before, after)| after.2 > before.2).map(|(_, after)| after.0);
        let mut inside = rises.filter(|at| now.saturating_duration_since(*at) <= self.window);
        let Some(first) = inside.next() else { return Duration::ZERO };
        inside.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(first))
    }
}

impl Detector for SuccessRate {
    fn name(&self) -> &'static str {
        "success_rate"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::Tally { good, faults, .. } = signal.kind else { return };
        if let Some((_, g, f)) = self.tallies.back()
            && (*g, *f) == (good, faults)
            && self.tallies.len() > 1
        {
            return;
        }
        if self.tallies.len() == KEPT {
            self.tallies.pop_front();
        }
        self.tallies.push_back((signal.at, good, faults));
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let Some((_, good, faults)) = self.tallies.back() else { return Verdict::Clear };
        // The newest tally from before the window is where the window's counts begin.
        let inside = |at: &Instant| now.saturating_duration_since(*at) <= self.window;
        let start = self.tallies.iter().rev().find(|(at, ..)| !inside(at));
        let Some((_, g, f)) = start.or(self.tallies.front()) else { return Verdict::Clear };
        let (good, faults) = (good.saturating_sub(*g), faults.saturating_sub(*f));
        let all = good + faults;
        if all < u64::from(self.minimum)
            || good * 100 >= all * u64::from(self.percent)
            || self.spread(now) < PAUSE
        {
            return Verdict::Clear;
        }
        Verdict::Strong(format!(
            "{good} of {all} attempts good in {:?} (below {} %)",
            self.window, self.percent
        ))
    }

    fn reset(&mut self, _: Instant) {
        let last = self.tallies.back().copied();
        self.tallies.clear();
        self.tallies.extend(last);
    }
}
