//! Some requests wait for ever while younger ones of their size are answered on the same
//! replica: a slot, a worker or a device behind it is dead. A busy replica answers in the
//! order of its queue, so it passes nobody over.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// Passed over that are a suspicion, and those that are strong.
const SUSPECT: u64 = 3;
const STRONG: u64 = 8;
/// One of so many is passed over …
const SHARE: u64 = 5;
/// … and with its peers so many times fewer.
const PEERS: u64 = 4;
/// How long a comparison stands.
const STANDS: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct PassedOver {
    last: Option<(Instant, u64, u64)>,
}

impl Detector for PassedOver {
    fn name(&self) -> &'static str {
        "passed_over"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::PassedOver { own: (over, answered), peers } = signal.kind else { return };
        let many = over >= SUSPECT && over * SHARE >= over + answered;
        // Shares compared without a division: over/own against over/peers.
        let unlike = peers.0 * PEERS * (over + answered) <= over * (peers.0 + peers.1);
        let compared = peers.1 > 0;
        self.last = (many && unlike && compared).then_some((signal.at, over, answered));
    }

    fn verdict(&self, now: Instant) -> Verdict {
        match self.last {
            Some((at, over, answered)) if now.saturating_duration_since(at) <= STANDS => {
                let text = format!(
                    "{over} of {} requests were passed over by younger ones",
                    over + answered
                );
                if over >= STRONG { Verdict::Strong(text) } else { Verdict::Suspicion(text) }
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

    fn verdict(own: (u64, u64), peers: (u64, u64)) -> Verdict {
        let mut over = PassedOver::default();
        over.observe(&signal(0, SignalKind::PassedOver { own, peers }));
        over.verdict(at(1))
    }

    #[test]
    fn half_of_its_slots_dead() {
        assert!(matches!(verdict((3, 5), (0, 30)), Verdict::Suspicion(_)));
        assert!(matches!(verdict((8, 9), (1, 60)), Verdict::Strong(_)));
    }

    #[test]
    fn stragglers_and_what_all_do_are_nothing() {
        assert_eq!(verdict((3, 60), (0, 30)), Verdict::Clear);
        assert_eq!(verdict((5, 10), (10, 20)), Verdict::Clear);
        assert_eq!(verdict((9, 9), (0, 0)), Verdict::Clear);
    }
}
