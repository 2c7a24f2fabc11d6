//! Probes that fail: one is a suspicion, several in a row over a second are strong.

use super::{Detector, Verdict};
use evenkeel_domain::settings::Probe;
use evenkeel_domain::{Signal, SignalKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Failures in a row that are strong evidence …
const STRONG: u32 = 3;
/// Processes pause for up to 2.5 s and go on.
const PAUSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Probes {
    failed: u32,
    since: Option<Instant>,
    text: Option<Arc<str>>,
    /// Whether the last one came to nothing at all, which is what hanging looks like.
    silent: bool,
    /// … when they span at least this long: a garbage collection is no death.
    span: Duration,
}

impl Probes {
    pub(super) fn new(probe: &Probe) -> Self {
        // A packet may be lost on either side of a pause, too.
        let span = (probe.timeout * 2).max(PAUSE + probe.timeout);
        Self { failed: 0, since: None, text: None, silent: false, span }
    }
}

impl Detector for Probes {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn evidence(&self) -> &'static str {
        if self.silent { "probe_silence" } else { self.name() }
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::ProbeFailed(failure) => {
                self.failed = self.failed.saturating_add(1);
                self.since.get_or_insert(signal.at);
                self.text = Some(failure.text.clone());
                self.silent = failure.silent;
            }
            SignalKind::ProbeOk(_) => self.reset(signal.at),
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let (Some(since), Some(text)) = (self.since, &self.text) else {
            return Verdict::Clear;
        };
        let text = match self.failed {
            1 => format!("a probe failed: {text}"),
            many => format!("{many} probes in a row failed: {text}"),
        };
        let long = now.saturating_duration_since(since) >= self.span;
        if self.failed >= STRONG && long { Verdict::Strong(text) } else { Verdict::Suspicion(text) }
    }

    fn reset(&mut self, _: Instant) {
        (self.failed, self.since, self.text) = (0, None, None);
    }
}
