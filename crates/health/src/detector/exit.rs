//! The process ended: definite, until it is started again.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Exit {
    how: Option<Arc<str>>,
}

impl Detector for Exit {
    fn name(&self) -> &'static str {
        "exit"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Exited(how) => self.how = Some(how.clone()),
            SignalKind::Started => self.how = None,
            _ => {}
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        match &self.how {
            Some(how) => Verdict::Definite(format!("process ended: {how}")),
            None => Verdict::Clear,
        }
    }

    fn reset(&mut self, _: Instant) {
        self.how = None;
    }
}
