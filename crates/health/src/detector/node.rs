//! The node it runs on: a suspicion while its beats are late or cannot reach us, definite when
//! nobody hears it any more.
//!
//! What is known is said again every second: what else resets a replica does not change it.

use super::{Detector, Verdict};
use evenkeel_domain::health::CheckFault;
use evenkeel_domain::{Signal, SignalKind};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Node {
    against: Option<CheckFault>,
}

impl Detector for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn observe(&mut self, signal: &Signal) {
        if let SignalKind::Node { against, .. } = &signal.kind {
            self.against.clone_from(against);
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        match &self.against {
            None => Verdict::Clear,
            Some(fault) if fault.definite => Verdict::Definite(fault.text.to_string()),
            Some(fault) => Verdict::Suspicion(fault.text.to_string()),
        }
    }

    fn reset(&mut self, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    #[test]
    fn the_last_word_of_a_node_counts() {
        let mut node = Node::default();
        assert_eq!(node.verdict(at(0)), Verdict::Clear);
        let says = |definite: Option<bool>| SignalKind::Node {
            name: "gpu-1".into(),
            against: definite.map(|definite| CheckFault { text: "gpu-1".into(), definite }),
        };
        for (definite, verdict) in [
            (Some(false), Verdict::Suspicion("gpu-1".into())),
            (Some(true), Verdict::Definite("gpu-1".into())),
            (None, Verdict::Clear),
        ] {
            node.observe(&signal(1, says(definite)));
            node.reset(at(2));
            assert_eq!(node.verdict(at(3)), verdict);
        }
    }
}
