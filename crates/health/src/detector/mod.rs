//! Judges of one replica: signals and `now` in, a verdict out. No clock, no I/O.
//!
//! A new detector is one file here and one line in [`build`].

pub(crate) mod absent;
mod broken;
mod checks;
mod consecutive;
mod exit;
mod lying;
mod named;
mod node;
mod passed_over;
mod probes;
mod refusal;
mod silence;
mod size;
mod slow;
mod success_rate;
mod unusual;

use evenkeel_domain::Signal;
use evenkeel_domain::settings::ServiceSettings;
use std::time::Instant;

/// What a detector says, from nothing to certainty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against the replica.
    Clear,
    /// It has much to do and does it: nothing against it, but worth telling.
    Busy(String),
    /// One piece of evidence.
    Suspicion(String),
    /// Enough independent observations of its own to isolate by.
    Strong(String),
    /// It cannot serve, whatever it is asked.
    Definite(String),
}

/// Judges one replica.
pub trait Detector: Send + std::fmt::Debug {
    /// Its name in evidence.
    fn name(&self) -> &'static str;
    /// What kind of evidence it has: its name, or a finer one where it knows more.
    fn evidence(&self) -> &'static str {
        self.name()
    }
    /// Takes a signal in.
    fn observe(&mut self, signal: &Signal);
    /// What it says at `now`.
    fn verdict(&self, now: Instant) -> Verdict;
    /// Forgets: the replica was started anew, or its isolation is over.
    fn reset(&mut self, now: Instant);
}

/// All detectors for one replica.
#[must_use]
pub fn build(settings: &ServiceSettings) -> Vec<Box<dyn Detector>> {
    let ServiceSettings { ejection, probe, answers, .. } = settings;
    vec![
        // Before those whose evidence is only what it looks like.
        Box::new(absent::Absent::default()),
        Box::new(exit::Exit::default()),
        Box::new(refusal::Refusal::default()),
        Box::new(broken::Broken::default()),
        Box::new(probes::Probes::new(probe)),
        Box::new(silence::Silence::default()),
        Box::new(slow::Slow::default()),
        Box::new(consecutive::Consecutive::new(ejection)),
        Box::new(success_rate::SuccessRate::new(ejection)),
        Box::new(checks::Checks::default()),
        Box::new(size::Size::default()),
        Box::new(passed_over::PassedOver::default()),
        Box::new(named::Named::default()),
        Box::new(unusual::Unusual::default()),
        Box::new(node::Node::default()),
        Box::new(lying::Lying::new(answers.quorum.as_ref())),
    ]
}

#[cfg(test)]
pub(crate) mod testing {
    use evenkeel_domain::health::ProbeFailure;
    use evenkeel_domain::outcome::{NetworkFault, Outcome, ReplicaFault};
    use evenkeel_domain::{Incarnation, Signal, SignalKind, clock};
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    pub(crate) const ERROR: SignalKind =
        SignalKind::Attempt(Outcome::ReplicaFault(ReplicaFault::ServerError));
    pub(crate) const RESET: SignalKind =
        SignalKind::Attempt(Outcome::NetworkFault(NetworkFault::Reset));
    pub(crate) const REFUSED: SignalKind =
        SignalKind::Attempt(Outcome::NetworkFault(NetworkFault::Refused));
    pub(crate) const GOOD: SignalKind = SignalKind::Attempt(Outcome::Ok);
    pub(crate) const PROBE_OK: SignalKind = SignalKind::ProbeOk(Duration::from_millis(1));

    pub(crate) fn probe_failed(refused: bool, not_ready: bool) -> SignalKind {
        SignalKind::ProbeFailed(ProbeFailure {
            refused,
            not_ready,
            silent: false,
            text: "probe".into(),
        })
    }

    pub(crate) fn at(ms: u64) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(clock::now) + Duration::from_millis(ms)
    }

    pub(crate) fn signal(ms: u64, kind: SignalKind) -> Signal {
        Signal { replica: 1, incarnation: Incarnation(0), observer: "test", at: at(ms), kind }
    }
}
