//! What stands beside incidents and outlives them: pauses, the storm stop, what was changed.

use super::{Incident, Millis};
use serde::{Deserialize, Serialize};

/// The name that means every target.
pub const ALL_TARGETS: &str = "all";
/// Changes that are remembered at most: an hour of a hundred targets that are restarted as
/// often as the limits allow is fewer.
const CHANGES: usize = 2000;
/// How long changes are remembered: longer than every limit looks back.
const REMEMBERED: Millis = 3_600_000;

/// Who changed a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedBy {
    /// An action of recovery.
    Recovery,
    /// The supervisor, after an exit.
    Supervisor,
}

/// A target was changed: it counts against the limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The replica.
    pub target: String,
    /// When.
    pub at: Millis,
    /// By whom.
    pub by: ChangedBy,
}

/// A person wants nothing to be done for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// A replica, a service, or [`ALL_TARGETS`].
    pub target: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub why: String,
    /// Until when.
    pub until: Millis,
}

/// Too much was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// Since when.
    pub since: Millis,
    /// What was too much.
    pub why: String,
}

/// All that stands beside incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Pauses, those that are over included until the next change.
    pub pauses: Vec<Pause>,
    /// The storm stop, while it holds.
    pub storm: Option<Storm>,
    /// What was changed lately, oldest first.
    pub changes: Vec<Change>,
}

impl Standing {
    /// Remembers a change, and forgets what no limit looks at.
    pub fn changed(&mut self, target: &str, by: ChangedBy, now: Millis) {
        self.changes.retain(|change| now.saturating_sub(change.at) < REMEMBERED);
        if self.changes.len() >= CHANGES {
            self.changes.remove(0);
        }
        self.changes.push(Change { target: target.to_owned(), at: now, by });
    }

    /// The pause that holds for an incident's target.
    #[must_use]
    pub fn pause(&self, incident: &Incident, now: Millis) -> Option<&Pause> {
        let names = [ALL_TARGETS, &incident.service, &incident.target];
        let holds = |p: &&Pause| p.until > now && names.contains(&p.target.as_str());
        self.pauses.iter().find(holds)
    }

    /// The pause that holds for a whole service.
    #[must_use]
    pub fn pause_of(&self, service: &str, now: Millis) -> Option<&Pause> {
        let names = [ALL_TARGETS, service];
        self.pauses.iter().find(|p| p.until > now && names.contains(&p.target.as_str()))
    }
}
