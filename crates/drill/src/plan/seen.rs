//! What a drill sees of the service while it runs.

use evenkeel_domain::event::Event;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Evenkeel at one moment, as far as drills care.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// The newest event's cursor.
    pub cursor: u64,
    /// The gateway's process.
    pub gateway_pid: u32,
    /// How long that has been running.
    pub gateway_age: Duration,
    /// The gateway's clock, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Incidents that are open.
    pub open_incidents: usize,
    /// All services.
    pub services: Vec<ServiceLook>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceLook {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: String,
    /// The models it serves.
    pub models: Vec<String>,
    /// Share of its error budget that is left, where that is known.
    pub budget_left: Option<f64>,
    /// The burn-rate rule that speaks; empty for none.
    pub burns: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaLook>,
}

/// One replica.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplicaLook {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// Its state.
    pub health: String,
    /// What that means for picks.
    pub gate: String,
    /// Which start of it.
    pub incarnation: u64,
    /// The node it runs on, where that is another one.
    pub node: Option<String>,
    /// Its process, where Evenkeel runs it.
    pub pid: Option<u32>,
    /// How long that has been running.
    pub age: Option<Duration>,
    /// Where its connections go instead.
    pub via: Option<String>,
}

impl ServiceLook {
    /// Whether a drill may use up some of its error budget.
    ///
    /// # Errors
    /// Why not, and what helps.
    pub fn may_drill(&self) -> Result<(), String> {
        let why = match self.budget_left {
            _ if !self.burns.is_empty() => self.burns.clone(),
            Some(left) if left > 0.0 => return Ok(()),
            Some(_) => "nothing is left of it".into(),
            None => "how much is left of it is not known yet".into(),
        };
        Err(format!(
            "`limits.budget` asks for an error budget of `{}`: {why}; wait (`evenkeel slo`), or set \
             it to false",
            self.name
        ))
    }
}

impl ReplicaLook {
    /// Whether it takes traffic.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.gate == "open"
    }
}

impl Look {
    /// A service by name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceLook> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// What clients have seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSeen {
    /// Requests sent.
    pub begun: u64,
    /// Of them, ended.
    pub ended: u64,
    /// Of those, failed.
    pub failed: u64,
    /// The longest that one took that ended.
    pub slowest: Duration,
}

/// Everything that a step of the machine is given.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What clients saw.
    pub load: LoadSeen,
    /// Evenkeel, if it has answered since the last step; `Some(None)`: it did not.
    pub look: Option<Option<Look>>,
    /// Events since the last step.
    pub events: Vec<Event>,
}
