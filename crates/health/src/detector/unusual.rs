//! A series of this replica is anomalous by its own past and unlike its peers: a suspicion at
//! most. It takes another detector to isolate by it.

use super::{Detector, Verdict};
use evenkeel_domain::{Signal, SignalKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it stands: values come every ten seconds, and an episode is told once.
const STANDS: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Unusual {
    last: Option<(Instant, Arc<str>)>,
}

impl Detector for Unusual {
    fn name(&self) -> &'static str {
        "unusual"
    }

    fn observe(&mut self, signal: &Signal) {
        if let SignalKind::Unusual(text) = &signal.kind {
            self.last = Some((signal.at, text.clone()));
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        match &self.last {
            Some((at, text)) if now.saturating_duration_since(*at) <= STANDS => {
                Verdict::Suspicion(text.to_string())
            }
            _ => Verdict::Clear,
        }
    }

    fn reset(&mut self, _: Instant) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    #[test]
    fn it_is_a_suspicion_that_fades() {
        let mut unusual = Unusual::default();
        unusual.observe(&signal(0, SignalKind::Unusual("tokens a second: 3".into())));
        assert!(matches!(unusual.verdict(at(14_000)), Verdict::Suspicion(_)));
        assert_eq!(unusual.verdict(at(16_000)), Verdict::Clear);
    }
}
