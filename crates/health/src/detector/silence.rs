//! Requests wait far longer than is normal, and nothing at all comes from the replica
//! while its peers move: hung. A busy replica moves, so it is never taken for a hung one.

use super::{Detector, Verdict};
use evenkeel_domain::outcome::Outcome;
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// Waiting and standing still for less than this says nothing.
const FLOOR: Duration = Duration::from_secs(1);
/// How many times the normal wait is abnormal.
const FACTOR: u32 = 3;
/// Without a normal wait to compare with.
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long a report of a waiting request stands.
const STANDS: Duration = Duration::from_secs(3);

/// Requests wait, but answers move.
const BUSY: &str = "busy: requests wait for longer than is normal, and answers move";

#[derive(Debug, Default)]
pub(super) struct Silence {
    waiting: Option<Waiting>,
    still: Duration,
    peers_move: bool,
}

#[derive(Debug)]
struct Waiting {
    at: Instant,
    waited: Duration,
    limit: Duration,
}

impl Detector for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Waiting { waited, normal } => {
                let limit = normal.map_or(UNKNOWN, |n| (n * FACTOR).max(FLOOR));
                self.waiting = Some(Waiting { at: signal.at, waited: *waited, limit });
            }
            SignalKind::Tally { still, peers_move, .. } => {
                (self.still, self.peers_move) = (*still, *peers_move);
            }
            SignalKind::Attempt(Outcome::Ok) => self.waiting = None,
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let Some(w) = &self.waiting else { return Verdict::Clear };
        let since = now.saturating_duration_since(w.at);
        let waited = w.waited + since.min(STANDS);
        if since > STANDS || waited < w.limit {
            return Verdict::Clear;
        }
        if self.still < w.limit {
            return Verdict::Busy(BUSY.into());
        }
        if !self.peers_move {
            return Verdict::Clear;
        }
        Verdict::Suspicion(format!(
            "a request waits {waited:.1?} (normal: under {:.1?}) and nothing moved for {:.1?}, \
             while peers move",
            w.limit / FACTOR,
            self.still
        ))
    }

    fn reset(&mut self, _: Instant) {
        *self = Self::default();
    }
}
