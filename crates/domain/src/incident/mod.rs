//! Incidents: what is wrong with one replica, from the first sign until it serves again.
//!
//! ```text
//!  Suspected ─► Confirmed ─► Isolated ─► Acting(step) ─► Verifying ─► Probation ─► Resolved
//!                   ▲            ▲  └──────── next step ────┘              │
//!                   └────────────┼──────────── relapse ────────────────────┘
//!                            Escalated, Paused, Storm, Unknown: nothing is done
//! ```
//!
//! The types and the ports where health, journal and hands meet; what moves an incident is
//! in the `recovery` crate. Times are milliseconds since the Unix epoch and are passed in:
//! they must mean the same to the process that goes on after a crash.

mod foreseen;
mod hold;
mod playbook;
mod port;
mod standing;
#[cfg(feature = "testing")]
pub mod testing;

pub use foreseen::{FOREVER, Foreseen, Outlook};
pub use hold::{Elsewhere, Hold, Holding};
pub use playbook::{About, Action, More, Playbook, Rules, Step, Verify, When};
pub use port::{Copies, Hands, Journal, JournalError, JournalFuture, Reach, Seen, World};
pub use standing::{ALL_TARGETS, Change, ChangedBy, Pause, Standing, Storm};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, or a span of milliseconds.
pub type Millis = u64;

/// Where an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// One signal. Not written down: most end by themselves.
    Suspected,
    /// Two independent signals, or a definite one.
    Confirmed,
    /// Out of traffic; the next step is looked for.
    Isolated,
    /// A step is being done.
    Acting,
    /// A step was done; the health authority judges what came of it.
    Verifying,
    /// It serves again, and has to for a while.
    Probation,
    /// Over.
    Resolved,
    /// Waits for a person.
    Escalated,
    /// A person wants nothing to be done for a time.
    Paused,
    /// Too much was changed lately; nothing is done until a person says so.
    Storm,
    /// There is no data: nothing is done.
    Unknown,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Suspected,
        Self::Confirmed,
        Self::Isolated,
        Self::Acting,
        Self::Verifying,
        Self::Probation,
        Self::Resolved,
        Self::Escalated,
        Self::Paused,
        Self::Storm,
        Self::Unknown,
    ];

    /// The word for people and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Confirmed => "confirmed",
            Self::Isolated => "isolated",
            Self::Acting => "acting",
            Self::Verifying => "verifying",
            Self::Probation => "probation",
            Self::Resolved => "resolved",
            Self::Escalated => "escalated",
            Self::Paused => "paused",
            Self::Storm => "storm",
            Self::Unknown => "unknown",
        }
    }
}

/// What kind of fault it is: conditions of playbooks ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its process ended.
    Exited,
    /// Nobody listens.
    Refusing,
    /// It takes requests and does not answer.
    Hung,
    /// It gives wrong answers.
    Lying,
    /// It fails, or is slow.
    Failing,
    /// It runs elsewhere, and has never answered.
    Absent,
    /// Nothing is wrong yet: a limit will be reached.
    Forecast,
}

impl Cause {
    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Refusing => "refusing",
            Self::Hung => "hung",
            Self::Lying => "lying",
            Self::Failing => "failing",
            Self::Absent => "absent",
            Self::Forecast => "forecast",
        }
    }

    /// What kinds of evidence stand for, the most telling first.
    #[must_use]
    pub fn of(evidence: &[&str]) -> Self {
        let by = |name: &str| evidence.contains(&name);
        match () {
            () if by("absent") => Self::Absent,
            () if by("exit") => Self::Exited,
            () if by("refusal") => Self::Refusing,
            () if by("lying") => Self::Lying,
            () if by("silence") || by("probe_silence") => Self::Hung,
            () => Self::Failing,
        }
    }
}

/// The five times of an incident.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The first sign.
    pub onset: Millis,
    /// Confirmed.
    pub detected: Option<Millis>,
    /// Nothing new reached it any more.
    pub isolated: Option<Millis>,
    /// It served again for the first time.
    pub mitigated: Option<Millis>,
    /// Over.
    pub resolved: Option<Millis>,
}

/// One measurement that spoke against a replica, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// When.
    pub at: Millis,
    /// Who saw it.
    pub observer: String,
    /// What.
    pub text: String,
}

/// A step that is being done, or was done last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// Names it in the world: incident, step, try and the epoch in which it began. What is
    /// done again after a crash is done under the same key.
    pub key: String,
    /// What.
    pub step: Step,
    /// When it began.
    pub began: Millis,
    /// The start of the replica at that time: another one proves a restart.
    pub incarnation: u64,
    /// Whether a person ordered it beside the playbook.
    pub forced: bool,
    /// How it ended, once it has: `Err` for a failure.
    pub ended: Option<Result<String, String>>,
}

/// What is wrong with one replica, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `epoch-number`: never given twice.
    pub id: String,
    /// The replica.
    pub target: String,
    /// Its service.
    pub service: String,
    /// Where it is.
    pub phase: Phase,
    /// Where it goes back to from a side state.
    pub back: Option<Phase>,
    /// Since when it is there.
    pub since: Millis,
    /// What kind of fault.
    pub cause: Cause,
    /// The evidence when it was confirmed last.
    pub why: String,
    /// Measurements that led there.
    pub signs: Vec<Sign>,
    /// The five times.
    pub times: Times,
    /// Its playbook, as it was when the incident was confirmed.
    pub steps: Vec<Step>,
    /// Which step comes next, or is being done.
    pub at: usize,
    /// Tries of that step that have ended.
    pub tries: u32,
    /// All tries so far: part of keys.
    pub done: u32,
    /// The present or last step.
    pub doing: Option<Doing>,
    /// Ends of its process that were counted.
    pub ends: u64,
    /// Why the last move was made.
    pub note: String,
    /// What a person can do next.
    pub next: String,
    /// What it keeps in force until it is over.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// The limit that will be reached, where that is its cause.
    #[serde(default)]
    pub ahead: Option<Foreseen>,
}

impl Incident {
    /// Whether something may still happen.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Resolved
    }

    /// Who answers the requests of its service because of it.
    #[must_use]
    pub fn fails_over_to(&self) -> Option<&Elsewhere> {
        self.holds.iter().find_map(|hold| match &hold.what {
            Holding::FailOver { to } => Some(to),
            Holding::Copies { .. } => None,
        })
    }

    /// How many copies its service has at least because of it.
    #[must_use]
    pub fn copies(&self) -> Option<u32> {
        self.holds.iter().find_map(|hold| match hold.what {
            Holding::Copies { to, .. } => Some(to),
            Holding::FailOver { .. } => None,
        })
    }

    /// The step that comes next, or is being done.
    #[must_use]
    pub fn step(&self) -> Option<&Step> {
        self.steps.get(self.at)
    }
}

/// What one row of the journal says beside the state it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Millis,
    /// The incident, for rows about one.
    pub incident: Option<String>,
    /// A word: `confirmed`, `begin`, `end`, `pause`, …
    pub kind: String,
    /// For people.
    pub text: String,
}

/// One step of all that recovery knows: what is said, and the state after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is said.
    pub entry: Entry,
    /// The incident after it.
    pub incident: Option<Incident>,
    /// What stands beside incidents after it.
    pub standing: Option<Standing>,
}

/// A row as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its number; rises by one.
    pub seq: u64,
    /// Which process wrote it.
    pub writer: String,
    /// Rises with every process that takes the journal over.
    pub epoch: u64,
    /// What it says.
    pub entry: Entry,
}
