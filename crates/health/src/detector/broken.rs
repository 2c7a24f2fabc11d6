//! A connection broke before its answer: suspicious at once, until a probe says that the
//! replica is there. Dead replicas show themselves so first.

use super::{Detector, Verdict};
use evenkeel_domain::outcome::{NetworkFault, Outcome, ReplicaFault};
use evenkeel_domain::{Signal, SignalKind};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Broken {
    how: Option<&'static str>,
}

impl Detector for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            // Refusal has a detector of its own.
            SignalKind::Attempt(Outcome::NetworkFault(NetworkFault::Refused)) => {}
            SignalKind::Attempt(
                outcome @ (Outcome::NetworkFault(_)
                | Outcome::ReplicaFault(ReplicaFault::Truncated)),
            ) => self.how = Some(outcome.label()),
            SignalKind::ProbeOk(_) | SignalKind::Attempt(Outcome::Ok) => self.how = None,
            _ => {}
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        match self.how {
            Some(how) => Verdict::Suspicion(format!("a connection broke ({how})")),
            None => Verdict::Clear,
        }
    }

    fn reset(&mut self, _: Instant) {
        self.how = None;
    }
}
