//! Requests wait far longer than is normal, and nothing at all comes from the replica
//! while its peers move: hung. A busy replica moves, so it is never taken for a hung one.
//!
//! Those who wait may change: one that is hedged leaves, and the next one waits. What counts
//! is since when somebody waits without anything having come.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// Waiting and standing still for less than this says nothing.
const FLOOR: Duration = Duration::from_millis(500);
/// How many times the normal wait is abnormal.
const FACTOR: u32 = 3;
/// Without a normal wait to compare with.
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long a report of a waiting request stands.
const STANDS: Duration = Duration::from_secs(3);
/// Moves of streams are told so coarsely.
const COARSE: Duration = Duration::from_millis(50);
/// Requests wait, but answers move.
const BUSY: &str = "busy: requests wait for longer than is normal, and answers move";

#[derive(Debug, Default)]
pub(super) struct Silence {
    waiting: Option<Waiting>,
    /// When it last moved.
    moved: Option<Instant>,
    peers_move: bool,
}

#[derive(Debug)]
struct Waiting {
    /// The last report.
    at: Instant,
    /// When the first that has waited since it last moved began, and when the last one did.
    oldest: Instant,
    newest: Instant,
    limit: Duration,
}

impl Silence {
    fn moved_since(&self, began: Instant) -> bool {
        self.moved.is_some_and(|moved| moved > began + COARSE)
    }

    fn waits(&mut self, at: Instant, waited: Duration, limit: Duration) {
        let began = at.checked_sub(waited).unwrap_or(at);
        let before = self.waiting.take().filter(|w| at.saturating_duration_since(w.at) <= STANDS);
        let before = before.filter(|w| !self.moved_since(w.oldest));
        let oldest = before.as_ref().map_or(began, |w| w.oldest.min(began));
        let newest = before.as_ref().map_or(began, |w| w.newest.max(began));
        self.waiting = Some(Waiting { at, oldest, newest, limit });
    }
}

impl Detector for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Waiting { waited, normal } => {
                let limit = normal.map_or(UNKNOWN, |n| (n * FACTOR).max(FLOOR));
                self.waits(signal.at, *waited, limit);
            }
            SignalKind::Tally { still, peers_move, .. } => {
                self.moved = signal.at.checked_sub(*still);
                self.peers_move = *peers_move;
            }
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let Some(w) = self.waiting.as_ref() else { return Verdict::Clear };
        if now.saturating_duration_since(w.at) > STANDS {
            return Verdict::Clear;
        }
        let since = if self.moved_since(w.oldest) { w.newest } else { w.oldest };
        let waited = now.saturating_duration_since(since);
        match (waited < w.limit, self.moved_since(since)) {
            (true, _) => Verdict::Clear,
            (false, true) => Verdict::Busy(BUSY.into()),
            (false, false) if !self.peers_move => Verdict::Clear,
            (false, false) => Verdict::Suspicion(format!(
                "requests wait for {waited:.1?} (normal: under {:.1?}) and nothing came \
                 meanwhile, while peers move",
                w.limit / FACTOR
            )),
        }
    }

    fn reset(&mut self, _: Instant) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    const NORMAL: Option<Duration> = Some(Duration::from_millis(100));

    fn tally(still: u64) -> SignalKind {
        SignalKind::Tally {
            good: 0,
            faults: 0,
            silent: 0,
            still: Duration::from_millis(still),
            peers_move: true,
        }
    }

    fn waiting(waited: u64) -> SignalKind {
        SignalKind::Waiting { waited: Duration::from_millis(waited), normal: NORMAL }
    }

    #[test]
    fn one_after_the_other_waits_and_nothing_comes() {
        let mut silence = Silence::default();
        for begin in (0..800).step_by(200) {
            silence.observe(&signal(begin + 150, waiting(150)));
            silence.observe(&signal(begin + 150, tally(begin + 160)));
        }
        assert!(matches!(silence.verdict(at(760)), Verdict::Suspicion(_)));
    }

    #[test]
    fn who_is_answered_late_and_comes_no_more_is_not_hung() {
        let mut silence = Silence::default();
        silence.observe(&signal(900, waiting(900)));
        silence.observe(&signal(2900, tally(1990)));
        assert!(!matches!(silence.verdict(at(2900)), Verdict::Suspicion(_)));
    }

    #[test]
    fn busy_and_hung_are_different_verdicts() {
        let mut silence = Silence::default();
        silence.observe(&signal(2000, waiting(2000)));
        silence.observe(&signal(2000, tally(30)));
        assert!(matches!(silence.verdict(at(2000)), Verdict::Busy(_)));
        silence.observe(&signal(2001, tally(2001)));
        assert!(matches!(silence.verdict(at(2001)), Verdict::Suspicion(_)));
    }
}
