//! It answers as another model than its peers do: somebody put the wrong weights there. Stands
//! until it says the same as they, or they the same as it.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Named {
    differs: Option<Arc<str>>,
}

impl Detector for Named {
    fn name(&self) -> &'static str {
        "named"
    }

    fn observe(&mut self, signal: &Signal) {
        if let SignalKind::Differs(differs) = &signal.kind {
            self.differs.clone_from(differs);
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        self.differs.as_ref().map_or(Verdict::Clear, |text| Verdict::Suspicion(text.to_string()))
    }

    /// What it is does not change with time.
    fn reset(&mut self, _: Instant) {}
}
