//! Faults in a row (Envoy's `consecutive_5xx`): few are a suspicion that fades, many are
//! strong. Where nothing but silence is held against it, they must outlast a pause.

use super::{Detector, Verdict};
use evenkeel_domain::outcome::Outcome;
use evenkeel_domain::settings::Ejection;
use evenkeel_domain::{Signal, SignalKind};
use std::time::{Duration, Instant};

/// A suspicion of n faults fades after n times this without another: a replica that gets no
/// traffic cannot prove itself.
const FADES: Duration = Duration::from_secs(1);
/// Faults so far apart are no row.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Processes pause for up to 2.5 s and go on: all that was under way stalls at once.
const PAUSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Consecutive {
    row: u32,
    /// How many of them are more than silence.
    said: u32,
    /// The first of the row.
    since: Option<Instant>,
    last: Option<(Instant, Outcome)>,
    suspect: u32,
    strong: u32,
}

impl Consecutive {
    pub(super) fn new(ejection: &Ejection) -> Self {
        Self {
            row: 0,
            said: 0,
            since: None,
            last: None,
            suspect: ejection.suspect_after,
            strong: ejection.consecutive,
        }
    }

    fn begin_anew(&mut self, row: u32) {
        (self.row, self.said, self.since, self.last) = (row, row, None, None);
    }

    /// A pause lets all that is under way stall at once: that is one event.
    fn fades(&self) -> Duration {
        if self.said == 0 { FADES } else { FADES * self.row }
    }

    fn is_strong(&self) -> bool {
        let long = self
            .since
            .zip(self.last)
            .is_some_and(|(since, (last, _))| last.saturating_duration_since(since) >= PAUSE);
        self.said >= self.strong || (long && self.row >= self.strong)
    }
}

impl Detector for Consecutive {
    fn name(&self) -> &'static str {
        "consecutive"
    }

    fn observe(&mut self, signal: &Signal) {
        match &signal.kind {
            SignalKind::Attempt(Outcome::Ok) => self.begin_anew(0),
            SignalKind::Attempt(outcome) if outcome.blames_replica() => {
                // What failed long ago and was not tried since says nothing of now.
                let old = |(at, _)| signal.at.saturating_duration_since(at) > FORGOTTEN;
                if self.last.is_some_and(old) {
                    self.begin_anew(0);
                }
                self.row = self.row.saturating_add(1);
                self.said = self.said.saturating_add(u32::from(!outcome.is_silence()));
                self.since.get_or_insert(signal.at);
                self.last = Some((signal.at, *outcome));
            }
            _ => {}
        }
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let Some((at, outcome)) = self.last else { return Verdict::Clear };
        let text = || format!("{} faults in a row, the last one: {outcome}", self.row);
        if self.is_strong() {
            Verdict::Strong(text())
        } else if self.row >= self.suspect && now.saturating_duration_since(at) < self.fades() {
            Verdict::Suspicion(text())
        } else {
            Verdict::Clear
        }
    }

    /// After an isolation the next fault counts as the one that makes it suspect again.
    fn reset(&mut self, _: Instant) {
        self.begin_anew(self.suspect.saturating_sub(1));
    }
}
