//! Checks that are critical: together one suspicion, for the load of a host and the use of
//! its processors are no two witnesses; definite where the check is.
//!
//! A check says again with each look what it has, and takes it back when it is over: what
//! else resets a replica does not change what stands there.

use super::{Detector, Verdict};
use evenkeel_domain::health::CheckFault;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Checks {
    against: BTreeMap<Arc<str>, CheckFault>,
}

impl Detector for Checks {
    fn name(&self) -> &'static str {
        "check"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::Check { name, against, .. } = &signal.kind else { return };
        match against {
            Some(fault) => drop(self.against.insert(name.clone(), fault.clone())),
            None => drop(self.against.remove(name)),
        }
    }

    fn verdict(&self, _: Instant) -> Verdict {
        if self.against.is_empty() {
            return Verdict::Clear;
        }
        let all: Vec<_> =
            self.against.iter().map(|(name, fault)| format!("{name}: {}", fault.text)).collect();
        let text = all.join("; ");
        match self.against.values().any(|fault| fault.definite) {
            true => Verdict::Definite(text),
            false => Verdict::Suspicion(text),
        }
    }

    fn reset(&mut self, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    fn says(name: &str, definite: Option<bool>) -> SignalKind {
        let fault = |definite| CheckFault { text: "used 95%".into(), definite };
        SignalKind::Check { name: name.into(), against: definite.map(fault), news: true }
    }

    #[test]
    fn many_checks_are_one_suspicion_and_one_may_be_definite() {
        let mut checks = Checks::default();
        assert_eq!(checks.verdict(at(0)), Verdict::Clear);
        checks.observe(&signal(0, says("disk", Some(false))));
        checks.observe(&signal(0, says("load", Some(false))));
        let both = "disk: used 95%; load: used 95%".to_owned();
        assert_eq!(checks.verdict(at(1)), Verdict::Suspicion(both));
        checks.observe(&signal(1, says("gpu", Some(true))));
        assert!(matches!(checks.verdict(at(1)), Verdict::Definite(_)));
        checks.reset(at(2));
        assert!(matches!(checks.verdict(at(2)), Verdict::Definite(_)), "the GPU is not mended");
        for name in ["gpu", "disk", "load"] {
            checks.observe(&signal(3, says(name, None)));
        }
        assert_eq!(checks.verdict(at(3)), Verdict::Clear);
    }
}
