//! Alerts: what people are told, and what they say to it.
//!
//! ```text
//!  source ─► Finding ─► Alert ─► group ─► Message ─► channel
//!   what is so now      fires     whom, how often     sent at least once
//! ```
//! The types and the port where sources, stages, channels and the store meet; what moves an
//! alert is in the `notify` crate. Times are milliseconds since the Unix epoch: they must mean
//! the same to the process that goes on after a crash.

mod port;
#[cfg(feature = "testing")]
pub mod testing;

pub use crate::incident::Millis;
pub use crate::slo::Severity;
pub use port::{AlertFuture, AlertStore, Doc, Past, Table};

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// By what alerts are matched, silenced and grouped: `alert`, `severity`, `service` and what
/// the source adds.
pub type Labels = BTreeMap<String, String>;

/// What a source says is so now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Names the same thing at each look: `no_replica:chat`.
    pub key: String,
    /// What kind it is: the name of its source, or of a rule.
    pub alert: String,
    /// How urgent.
    pub severity: Severity,
    /// The service; empty where it is about none.
    pub service: String,
    /// Further labels.
    pub labels: Labels,
    /// What is wrong, in a line.
    pub what: String,
    /// The evidence.
    pub why: String,
    /// Who feels it: service, tier, share of requests.
    pub affected: String,
    /// What was done about it, oldest first.
    pub done: Vec<String>,
    /// What a person does next: a command to type.
    pub next: String,
    /// Since when, where the source knows.
    pub since: Option<Millis>,
    /// For how long it must be so before anybody is told, in milliseconds.
    pub lasting: Millis,
}

impl Finding {
    /// All labels, those that every alert has included.
    #[must_use]
    pub fn all_labels(&self) -> Labels {
        let mut all = self.labels.clone();
        all.insert("alert".into(), self.alert.clone());
        all.insert("severity".into(), self.severity.label().into());
        if !self.service.is_empty() {
            all.insert("service".into(), self.service.clone());
        }
        all
    }
}

/// Somebody looks after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub owner: String,
    /// When.
    pub at: Millis,
}

/// Something that has been so for long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Never given twice.
    pub id: String,
    /// What is so; after it is over, as it was last.
    pub finding: Finding,
    /// Since when.
    pub since: Millis,
    /// When it had been so for long enough.
    pub fired: Millis,
    /// When it was over.
    pub resolved: Option<Millis>,
    /// Who looks after it.
    pub acknowledged: Option<Acknowledged>,
    /// Why nobody is told: who silenced it, until when, why.
    pub silenced: Option<String>,
    /// The group that it is told with.
    pub group: String,
    /// Channels that it was given to.
    pub told: BTreeSet<String>,
}

/// Nobody is told of what matches, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Never given twice.
    pub id: String,
    /// Labels that must all match; `*` at the end of a value stands for anything.
    pub matching: Labels,
    /// Who.
    pub owner: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub from: Millis,
    /// Until when.
    pub until: Millis,
}

/// Whether labels have all that is asked for.
#[must_use]
pub fn matches(asked: &Labels, labels: &Labels) -> bool {
    asked.iter().all(|(name, wanted)| {
        let has = labels.get(name).map_or("", String::as_str);
        match wanted.strip_suffix('*') {
            Some(start) => has.starts_with(start),
            None => has == wanted,
        }
    })
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Alerts fire.
    Fires,
    /// They still do, and nobody has said anything.
    Repeats,
    /// Those who were told have not said anything.
    Escalates,
    /// Somebody looks after them.
    Acknowledged,
    /// They are over.
    Resolved,
    /// The dead-man's switch: alerting lives.
    Alive,
    /// A person tries the channel.
    Test,
}

impl Kind {
    /// The word for people and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fires => "fires",
            Self::Repeats => "repeats",
            Self::Escalates => "escalates",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Alive => "alive",
            Self::Test => "test",
        }
    }
}

/// One message to one channel. Sent at least once; whoever gets it tells copies by its `id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Never given twice; the same each time it is sent.
    pub id: String,
    /// Its place: messages of one group reach one channel in this order.
    pub seq: u64,
    /// The channel.
    pub channel: String,
    /// The group.
    pub group: String,
    /// Names this time that something is wrong in the group: until all of it is over.
    pub episode: String,
    /// What for.
    pub kind: Kind,
    /// The alerts it is about, as they were then.
    pub alerts: Vec<Alert>,
    /// How many more there are.
    pub more: u64,
    /// Whether others of the group still fire.
    pub open: bool,
    /// When it came to be.
    pub at: Millis,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub due: Millis,
    /// Why it was not delivered the last time.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_match_whole_or_by_their_beginning() {
        let labels = Labels::from([("service".into(), "chat".into())]);
        let asks = |value: &str| matches(&[("service".into(), value.into())].into(), &labels);
        assert!(asks("chat") && asks("ch*") && asks("*"));
        assert!(!asks("cha") && !asks("chat2") && !asks(""));
        assert!(!matches(&[("node".into(), "a".into())].into(), &labels));
        assert!(matches(&[("node".into(), String::new())].into(), &labels), "absent is empty");
    }
}
