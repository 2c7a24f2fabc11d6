//! It runs elsewhere and has never answered, although it had all the time it may take: definite,
//! until it answers.

use super::{Detector, Verdict};
use evenkeel_domain::{Outcome, Signal, SignalKind};
use std::time::{Duration, Instant};

/// How its evidence begins.
pub(crate) const NAME: &str = "absent";

#[derive(Debug, Default)]
pub(super) struct Absent {
    deadline: Option<Duration>,
}

impl Detector for Absent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Absent { deadline } => self.deadline = Some(*deadline),
            SignalKind::ProbeOk(_) | SignalKind::Attempt(Outcome::Ok) => self.deadline = None,
            _ => {}
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        match self.deadline {
            Some(deadline) => Verdict::Definite(format!(
                "never answered, and its startup deadline of {deadline:?} is over"
            )),
            None => Verdict::Clear,
        }
    }

    fn reset(&mut self, _: Instant) {
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PROBE_OK, at, probe_failed, signal};
    use super::*;

    #[test]
    fn only_an_answer_speaks_for_it() {
        let mut absent = Absent::default();
        absent.observe(&signal(0, probe_failed(true, false)));
        assert_eq!(absent.verdict(at(0)), Verdict::Clear);
        absent.observe(&signal(1, SignalKind::Absent { deadline: Duration::from_secs(600) }));
        assert!(matches!(absent.verdict(at(1)), Verdict::Definite(text) if text.contains("600s")));
        absent.observe(&signal(2, probe_failed(true, false)));
        assert!(matches!(absent.verdict(at(2)), Verdict::Definite(_)));
        absent.observe(&signal(3, PROBE_OK));
        assert_eq!(absent.verdict(at(3)), Verdict::Clear);
    }
}
