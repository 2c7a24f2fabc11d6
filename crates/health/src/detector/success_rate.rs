//! Too small a share of good attempts over a window.
//!
//! What falls silent at the same time is one event, however many attempts it meets: a process
//! that paused for a second or two. And faults that came all at once are told by those in a row.

use super::{Detector, Verdict};
use evenkeel_domain::settings::Ejection;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Tallies kept at most: enough for a window, however often it is looked at.
const KEPT: usize = 256;
/// … at this share of the window apart.
const APART: u32 = 240;
/// Processes pause for up to 2.5 s and go on.
const PAUSE: Duration = Duration::from_secs(3);
/// Faults below which a share is chance.
const FAULTS: u64 = 5;

#[derive(Debug)]
pub(super) struct SuccessRate {
    tallies: VecDeque<(Instant, u64, u64)>,
    /// Silent ones at the last look, and those that were left out since.
    silent: u64,
    left_out: u64,
    /// When the last silence began that was counted.
    silence: Option<Instant>,
    window: Duration,
    percent: u32,
    minimum: u32,
}

impl SuccessRate {
    pub(super) fn new(ejection: &Ejection) -> Self {
        Self {
            tallies: VecDeque::new(),
            silent: 0,
            left_out: 0,
            silence: None,
            window: ejection.window,
            percent: ejection.success_percent,
            minimum: ejection.min_attempts,
        }
    }

    /// Faults, with those of one silence as one.
    fn weighed(&mut self, faults: u64, silent: u64, at: Instant) -> u64 {
        let new = silent.saturating_sub(std::mem::replace(&mut self.silent, silent));
        if new > 0 {
            let same = |since| at.saturating_duration_since(since) < PAUSE;
            let counted = u64::from(!self.silence.is_some_and(same));
            if counted > 0 {
                self.silence = Some(at);
            }
            self.left_out += new - counted;
        }
        faults.saturating_sub(self.left_out)
    }

    /// How long it is from the first fault within the window to the last.
    fn spread(&self, now: Instant) -> Duration {
        let pairs = self.tallies.iter().zip(self.tallies.iter().skip(1));
        let rises = pairs.filter(|(before, after)| after.2 > before.2).map(|(_, after)| after.0);
        let mut inside = rises.filter(|at| now.saturating_duration_since(*at) <= self.window);
        let Some(first) = inside.next() else { return Duration::ZERO };
        inside.next_back().map_or(Duration::ZERO, |last| last.saturating_duration_since(first))
    }
}

impl Detector for SuccessRate {
    fn name(&self) -> &'static str {
        "success_rate"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::Tally { good, faults, silent, .. } = signal.kind else { return };
        let faults = self.weighed(faults, silent, signal.at);
        if let Some((_, g, f)) = self.tallies.back()
            && (*g, *f) == (good, faults)
            && self.tallies.len() > 1
        {
            return;
        }
        // A replica in doubt is looked at more often: what is close together counts once.
        let mut newest = self.tallies.iter().rev().map(|tally| tally.0);
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last.saturating_duration_since(before) < self.window / APART
        {
            self.tallies.pop_back();
        } else if self.tallies.len() == KEPT {
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
        let enough = all >= u64::from(self.minimum) && faults >= FAULTS;
        if !enough || good * 100 >= all * u64::from(self.percent) || self.spread(now) < PAUSE {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    /// Tallies as (second, good, faults, silent); whether the last one speaks against it.
    fn speaks(tallies: &[(u64, u64, u64, u64)]) -> bool {
        let mut rate = SuccessRate::new(&Ejection::default());
        let mut last = 0;
        for (second, good, faults, silent) in tallies {
            let tally = SignalKind::Tally {
                good: *good,
                faults: *faults,
                silent: *silent,
                still: Duration::ZERO,
                peers_move: true,
            };
            rate.observe(&signal(second * 1000, tally));
            last = second * 1000;
        }
        rate.verdict(at(last)) != Verdict::Clear
    }

    #[test]
    fn a_third_of_errors_over_seconds() {
        assert!(speaks(&[(0, 0, 0, 0), (1, 4, 2, 0), (5, 8, 5, 0)]));
        assert!(!speaks(&[(0, 0, 0, 0), (1, 4, 2, 0), (2, 8, 4, 0)]), "one event");
        assert!(!speaks(&[(0, 0, 0, 0), (1, 40, 2, 0), (5, 80, 4, 0)]));
    }

    #[test]
    fn looks_in_quick_succession_do_not_shorten_the_window() {
        let mut rate = SuccessRate::new(&Ejection::default());
        let mut look = |ms: u64, good, faults| {
            let still = Duration::ZERO;
            let tally = SignalKind::Tally { good, faults, silent: 0, still, peers_move: true };
            rate.observe(&signal(ms, tally));
            rate.verdict(at(ms))
        };
        look(0, 0, 0);
        look(1000, 0, 300);
        look(5000, 0, 600);
        // Good ones alone, looked at every 10 ms.
        let mut last = Verdict::Clear;
        for n in 1..=300 {
            last = look(5000 + 10 * n, n, 600);
        }
        assert_ne!(last, Verdict::Clear, "the faults are remembered");
    }

    #[test]
    fn two_pauses_are_two_events() {
        assert!(!speaks(&[(0, 0, 0, 0), (1, 2, 3, 3), (2, 2, 5, 5), (20, 8, 9, 9)]));
    }
}
