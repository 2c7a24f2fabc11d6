//! What is to be done. Pure: the state, the world and `now` in, the next change out.
//!
//! ```text
//!   World ─► notice ─► decide ─► Change { record, act, release }
//!   people ─► order ─────┘             │
//!   actions ─► ended ────┘             └─► journal, then hands: the runner
//! ```
//!
//! A change says everything that follows from it, so whoever has read the journal up to any
//! row knows where to go on.

mod ahead;
mod decide;
mod hold;
pub mod limits;
pub mod machine;
mod notice;
mod order;
pub mod playbook;
mod step;
mod words;

pub use decide::{Decision, decide};
pub use hold::stand_ins;
pub use order::{Order, Refusal, obey};
pub use step::{Resume, ended, resume};
pub use words::{Planned, Preview, preview};

use evenkeel_domain::incident::{
    Entry, Incident, Millis, Phase, Playbook, Record, Rules, Seen, Standing,
};
use limits::Fleet;
use machine::{Event, Illegal};
use std::collections::{BTreeMap, BTreeSet};

/// What the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// Limits and times.
    pub rules: Rules,
    /// Playbooks of services that have one of their own.
    pub playbooks: Vec<Playbook>,
}

/// How a target looked at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    ends: u64,
    /// Whether a person or the configuration had taken it out.
    left_alone: bool,
}

/// All that recovery knows. What is in the journal comes from there after a crash; the rest
/// is seen again within one look.
#[derive(Debug, Clone)]
pub struct State {
    /// Under which the journal was taken.
    pub epoch: u64,
    /// When this process began to look.
    pub started: Millis,
    /// Open incidents, by their number.
    pub incidents: BTreeMap<String, Incident>,
    /// What stands beside them.
    pub standing: Standing,
    /// Incidents begun in this epoch.
    begun: u64,
    /// One signal only: since when.
    suspects: BTreeMap<String, Millis>,
    known: BTreeMap<String, Known>,
    /// Whose limits ahead this process has seen.
    foreseen: BTreeSet<String>,
}

/// One change: first written down, then taken over, then done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is written down.
    pub record: Record,
    /// Whether the incident's step is to be done then.
    pub act: bool,
    /// Whether what we ordered about the target ends then.
    pub release: bool,
    /// Where the incident came from.
    pub from: Phase,
}

impl State {
    /// What the journal says.
    #[must_use]
    pub fn new(epoch: u64, open: Vec<Incident>, standing: Standing, now: Millis) -> Self {
        Self {
            epoch,
            started: now,
            incidents: open.into_iter().map(|one| (one.id.clone(), one)).collect(),
            standing,
            begun: 0,
            suspects: BTreeMap::new(),
            known: BTreeMap::new(),
            foreseen: BTreeSet::new(),
        }
    }

    /// Takes over what was written down.
    pub fn apply(&mut self, record: &Record) {
        if let Some(standing) = &record.standing {
            self.standing.clone_from(standing);
        }
        let Some(incident) = &record.incident else { return };
        self.suspects.remove(&incident.target);
        if incident.is_open() {
            if record.entry.kind == notice::OPENED {
                self.begun += 1;
            }
            self.incidents.insert(incident.id.clone(), incident.clone());
        } else {
            self.incidents.remove(&incident.id);
        }
    }

    /// The open incident of a target.
    #[must_use]
    pub fn of(&self, target: &str) -> Option<&Incident> {
        self.incidents.values().find(|incident| incident.target == target)
    }

    /// The next change, if there is one; it is applied before the next is asked for.
    #[must_use]
    pub fn next(&self, world: &[Seen], book: &Book, now: Millis) -> Option<Change> {
        notice::storm(self, world, book, now)
            .or_else(|| notice::opened(self, world, book, now))
            .or_else(|| hold::over(self, world, now))
            .or_else(|| {
                self.incidents.values().find_map(|incident| {
                    match decide(self, incident, world, book, now) {
                        Decision::Change(change) => Some(*change),
                        Decision::Hold(_) | Decision::Running => None,
                    }
                })
            })
    }

    /// Remembers how the world looked. After [`State::next`] has nothing more to say: what
    /// rose since the last look is told by it.
    pub fn looked(&mut self, world: &[Seen], now: Millis) {
        notice::suspects(&mut self.suspects, world, now);
        let ahead = world.iter().filter(|seen| seen.ahead.is_some());
        self.foreseen.extend(ahead.map(|seen| seen.target.clone()));
        self.foreseen.retain(|target| world.iter().any(|seen| seen.target == *target));
        self.known = world
            .iter()
            .map(|seen| {
                let left_alone = seen.left_alone();
                (seen.target.clone(), Known { ends: seen.ends, left_alone })
            })
            .collect();
    }

    /// What the limits must know for a change of this target.
    fn fleet(&self, target: &str, service: &str, world: &[Seen]) -> Fleet {
        let members = || world.iter().filter(|seen| seen.service == service);
        let open = |seen: &Seen| seen.serves();
        let changes = |one: &&Incident| {
            let busy = matches!(one.phase, Phase::Acting | Phase::Verifying);
            let changing = one.doing.as_ref().is_some_and(|doing| doing.step.action.changes());
            one.service == service && one.target != target && busy && changing
        };
        Fleet {
            members: members().count(),
            changing: self.incidents.values().filter(changes).count(),
            others_open: members().filter(|seen| seen.target != target && open(seen)).count(),
            open: members().any(|seen| seen.target == target && open(seen)),
            targets: world.iter().filter(|seen| seen.is_replica()).count(),
        }
    }
}

/// Moves an incident by the table, and says so.
///
/// # Errors
/// When the table has no such move.
fn moved(
    incident: &Incident,
    event: Event,
    kind: &str,
    note: String,
    now: Millis,
) -> Result<Change, Illegal> {
    let (to, back) = machine::next(incident.phase, incident.back, event)?;
    let mut after = incident.clone();
    (after.phase, after.back, after.since) = (to, back, now);
    after.note.clone_from(&note);
    after.next.clear();
    let times = &mut after.times;
    match to {
        Phase::Confirmed => times.detected = times.detected.or(Some(now)),
        Phase::Isolated => times.isolated = times.isolated.or(Some(now)),
        Phase::Probation => times.mitigated = times.mitigated.or(Some(now)),
        Phase::Resolved => times.resolved = Some(now),
        _ => {}
    }
    if to == Phase::Resolved {
        after.holds.clear();
    }
    let entry = Entry { at: now, incident: Some(after.id.clone()), kind: kind.into(), text: note };
    Ok(Change {
        record: Record { entry, incident: Some(after), standing: None },
        act: false,
        release: !matches!(to, Phase::Confirmed | Phase::Isolated | Phase::Acting),
        from: incident.phase,
    })
}

impl Change {
    /// Changes the incident that it leaves.
    fn with(mut self, change: impl FnOnce(&mut Incident)) -> Self {
        if let Some(incident) = &mut self.record.incident {
            change(incident);
        }
        self
    }

    /// Changes what stands beside incidents.
    fn standing(mut self, state: &State, change: impl FnOnce(&mut Standing)) -> Self {
        let standing = self.record.standing.get_or_insert_with(|| state.standing.clone());
        change(standing);
        self
    }
}

#[cfg(test)]
mod tests;
