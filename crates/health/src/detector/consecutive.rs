//! Faults in a row (Envoy's `consecutive_5xx`): few are a suspicion that fades, many are
//! strong.

use super::{Detector, Verdict};
use evenkeel_domain::outcome::Outcome;
use evenkeel_domain::settings::Ejection;
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// A suspicion of n faults fades after n times this without another: a replica that gets no
/// traffic cannot prove itself.
const FADES: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Consecutive {
    row: u32,
    last: Option<(Instant, Outcome)>,
    suspect: u32,
    strong: u32,
}

impl Consecutive {
    pub(super) fn new(ejection: &Ejection) -> Self {
        Self { row: 0, last: None, suspect: ejection.suspect_after, strong: ejection.consecutive }
    }
}

impl Detector for Consecutive {
    fn name(&self) -> &'static str {
        "consecutive"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Attempt(Outcome::Ok) => (self.row, self.last) = (0, None),
            SignalKind::Attempt(outcome) if outcome.blames_replica() => {
                self.row = self.row.saturating_add(1);
                self.last = Some((signal.at, *outcome));
            }
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let Some((at, outcome)) = self.last else { return Verdict::Clear };
        let text = || format!("{} faults in a row, the last one: {outcome}", self.row);
        if self.row >= self.strong {
            Verdict::Strong(text())
        } else if self.row >= self.suspect && now.saturating_duration_since(at) < FADES * self.row {
            Verdict::Suspicion(text())
        } else {
            Verdict::Clear
        }
    }

    /// After an isolation the next fault counts as the one that makes it suspect again.
    fn reset(&mut self, _: Instant) {
        (self.row, self.last) = (self.suspect.saturating_sub(1), None);
    }
}
