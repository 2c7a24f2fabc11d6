//! Far slower than its peers at the same work, again and again.
//!
//! A replica that throttles or swaps answers every probe, and every request, late. Its peers
//! tell what is normal at this moment, so that a wave of long prompts speaks against nobody.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// How many times its peers' median is too slow.
const FACTOR: u32 = 5;
/// A difference that no client notices is none.
const FLOOR: Duration = Duration::from_millis(50);
/// First bytes below which a median says little.
const SAMPLES: u64 = 10;
/// How long a comparison stands.
const STANDS: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Slow {
    last: Option<(Instant, Duration, Duration)>,
}

impl Detector for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn observe(&mut self, signal: &Signal) {
        if let SignalKind::Pace { own, peers, samples } = signal.kind {
            let slow = samples >= SAMPLES && own > peers * FACTOR && own > peers + FLOOR;
            self.last = slow.then_some((signal.at, own, peers));
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        match self.last {
            Some((at, own, peers)) if now.saturating_duration_since(at) <= STANDS => {
                Verdict::Strong(format!(
                    "first bytes take {own:.1?} here and {peers:.1?} with its peers (medians)"
                ))
            }
            _ => Verdict::Clear,
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

    fn verdict(own: u64, peers: u64, samples: u64, after: u64) -> Verdict {
        let ms = Duration::from_millis;
        let mut slow = Slow::default();
        slow.observe(&signal(0, SignalKind::Pace { own: ms(own), peers: ms(peers), samples }));
        slow.verdict(at(after))
    }

    #[test]
    fn only_far_slower_than_peers_and_not_by_chance() {
        assert!(matches!(verdict(400, 20, 10, 0), Verdict::Strong(_)));
        assert_eq!(verdict(400, 20, 9, 0), Verdict::Clear);
        assert_eq!(verdict(90, 20, 50, 0), Verdict::Clear);
        assert_eq!(verdict(40, 2, 50, 0), Verdict::Clear);
        assert_eq!(verdict(400, 20, 10, 3001), Verdict::Clear);
    }
}
