//! Nobody listens: definite, until a probe is answered.

use super::{Detector, Verdict};
use evenkeel_domain::outcome::{NetworkFault, Outcome};
use evenkeel_domain::{Signal, SignalKind};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Refusal {
    refused: bool,
}

impl Detector for Refusal {
    fn name(&self) -> &'static str {
        "refusal"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Attempt(Outcome::NetworkFault(NetworkFault::Refused)) => {
                self.refused = true;
            }
            SignalKind::ProbeFailed(failure) if failure.refused => self.refused = true,
            SignalKind::ProbeOk(_)
            | SignalKind::Attempt(Outcome::Ok)
            | SignalKind::ProbeFailed(_) => {
                self.refused = false;
            }
            _ => {}
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        if self.refused {
            return Verdict::Definite("connections are refused".into());
        }
        Verdict::Clear
    }

    fn reset(&mut self, _: Instant) {
        self.refused = false;
    }
}
