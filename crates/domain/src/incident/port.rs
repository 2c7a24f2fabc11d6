//! The ports of recovery: what it sees, what it does, where it writes it down.

use super::{Elsewhere, Incident, Millis, Outlook, Record, Row, Sign, Standing};
use crate::health::{Evidence, Gate, Health};
use crate::orchestrator;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

/// One replica as it looks now; or what a check looks at, where no replica has it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name.
    pub target: String,
    /// Its service; empty for what is no replica.
    pub service: String,
    /// What the health authority says.
    pub health: Health,
    /// What that means for picks.
    pub gate: Gate,
    /// What stands against it.
    pub evidence: Evidence,
    /// Why it is in its state.
    pub why: String,
    /// The last measurements that spoke against it.
    pub signs: Vec<Sign>,
    /// Which start of it.
    pub incarnation: u64,
    /// Who has ordered it out of traffic, of people and restarts in turn: it is theirs then.
    pub ordered: Option<String>,
    /// Attempts under way.
    pub in_flight: u32,
    /// Its process, where our supervisor runs it.
    pub process: Option<orchestrator::Phase>,
    /// Ends of it that nobody had asked for.
    pub ends: u64,
    /// How that last ended.
    pub last_exit: Option<String>,
    /// Whether there are standbys that could stand in for it.
    pub has_standby: bool,
    /// The standby that serves in its place.
    pub replaced_by: Option<String>,
    /// Copies of its service; `None` where their number is fixed, or not known yet.
    pub copies: Option<Copies>,
    /// Who answers the requests of its service in its place.
    pub stand_in: Option<Elsewhere>,
    /// A limit that it will reach.
    pub ahead: Option<Outlook>,
}

/// Copies of a service whose number may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    /// How many are meant to run.
    pub size: u32,
    /// How many may be.
    pub max: u32,
    /// The numbers of those that take traffic.
    pub open: Vec<u32>,
}

impl Copies {
    /// Whether all from one number to before another take traffic.
    #[must_use]
    pub fn serve(&self, from: u32, to: u32) -> bool {
        (from..to).all(|number| self.open.contains(&number))
    }
}

impl Seen {
    /// What a check looks at, where that is no replica: nothing is said of its health.
    #[must_use]
    pub fn of_check(target: String, why: String, ahead: Option<Outlook>) -> Self {
        Self {
            target,
            service: String::new(),
            health: Health::Stopped,
            gate: Gate::Shut,
            evidence: Evidence::default(),
            why,
            signs: Vec::new(),
            incarnation: 0,
            ordered: None,
            in_flight: 0,
            process: None,
            ends: 0,
            last_exit: None,
            has_standby: false,
            replaced_by: None,
            copies: None,
            stand_in: None,
            ahead,
        }
    }

    /// Whether it is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        !self.service.is_empty()
    }

    /// Whether it takes traffic, in the health authority's judgement.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Probation)
    }

    /// Whether it is out of traffic because somebody wants it so.
    #[must_use]
    pub fn left_alone(&self) -> bool {
        self.ordered.is_some() || matches!(self.health, Health::Draining | Health::Stopped)
    }

    /// Whether its process is there; false for one that runs elsewhere.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(orchestrator::Phase::is_running)
    }
}

/// All replicas as they look now.
pub trait World: Send + Sync {
    /// From memory: never waits.
    fn look(&self) -> Vec<Seen>;
}

/// What [`Hands`] answers with: nothing, or why it could not be done.
pub type Reach<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What actions can do to replicas. A call returns once the wish is taken; the world shows
/// when it has come true.
pub trait Hands: Send + Sync {
    /// Takes a replica out of traffic until `until` at the latest; what is under way moves.
    fn isolate<'a>(&'a self, target: &'a str, key: &'a str, until: Millis) -> Reach<'a, ()>;

    /// Returns when nothing is under way on a replica any more, or it is gone.
    fn idle<'a>(&'a self, target: &'a str) -> Reach<'a, ()>;

    /// Ends what [`Hands::isolate`] ordered; leaves the orders of people alone.
    fn release<'a>(&'a self, target: &'a str) -> Reach<'a, ()>;

    /// Stops and starts its process, if it still is that start of it.
    fn restart<'a>(
        &'a self,
        target: &'a str,
        incarnation: u64,
        grace: std::time::Duration,
    ) -> Reach<'a, ()>;

    /// Drains its process and starts it anew, in turn with other such orders, if it still is
    /// that start of it.
    fn renew<'a>(&'a self, target: &'a str, incarnation: u64) -> Reach<'a, ()>;

    /// Drops old logs of our own from the disk of `path`; gives what came of it, for people.
    fn drop_logs<'a>(&'a self, path: &'a std::path::Path) -> Reach<'a, String>;

    /// Has a standby serve in its place; returns once one does or none is needed, with a word
    /// of which it is and how long that took.
    fn promote<'a>(&'a self, target: &'a str) -> Reach<'a, String>;

    /// Returns once the copies of the target's service with these numbers, the last one
    /// excluded, take traffic. How many there are is what open incidents hold.
    fn copies<'a>(&'a self, target: &'a str, from: u32, to: u32) -> Reach<'a, ()>;

    /// Whether the one who is to stand in can answer: with a word for people, or why not.
    fn can_answer<'a>(&'a self, to: &'a Elsewhere) -> Reach<'a, String>;

    /// Who answers for whom from now on, by service: all of it. Services that are not named
    /// answer by themselves.
    fn stand_in(&self, all: &BTreeMap<String, Elsewhere>);

    /// Sends it a request of our own (`POST`, JSON) and gives the status.
    fn request<'a>(
        &'a self,
        target: &'a str,
        path: &'a str,
        body: &'a str,
        key: &'a str,
    ) -> Reach<'a, u16>;
}

/// Why a journal did not do what it was asked to. Nothing was changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process has taken it over. Stop.
    #[error("another process has taken the journal over")]
    Fenced,
    /// It cannot be written or read now. Worth trying again.
    #[error("{0}")]
    Unavailable(String),
    /// It was changed by somebody else, or is damaged. A person must act.
    #[error("{0}")]
    Corrupt(String),
}

/// What a method of [`Journal`] answers with.
pub type JournalFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// Where everything is written down, before it is done and after. A record that was
/// answered with `Ok` survives the loss of power.
pub trait Journal: Send + Sync {
    /// Takes the journal over: from now on whoever had it before is refused. Gives the epoch.
    fn take<'a>(&'a self, now: Millis) -> JournalFuture<'a, u64>;

    /// Appends a record; its state replaces the one before.
    fn append<'a>(&'a self, epoch: u64, record: &'a Record) -> JournalFuture<'a, ()>;

    /// Incidents that are open, and what stands beside them.
    fn load(&self) -> JournalFuture<'_, (Vec<Incident>, Standing)>;

    /// The newest incidents, open ones included.
    fn incidents(&self, limit: u32) -> JournalFuture<'_, Vec<Incident>>;

    /// An incident with its rows, oldest first.
    fn incident<'a>(&'a self, id: &'a str) -> JournalFuture<'a, Option<(Incident, Vec<Row>)>>;

    /// Deletes the oldest rows beyond `keep`, but none of incidents that are open. Gives how
    /// many.
    fn prune(&self, epoch: u64, keep: u64, now: Millis) -> JournalFuture<'_, u64>;
}
