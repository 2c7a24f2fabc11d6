//! What can be done about a replica. *When* it is done belongs in `plan`.
//!
//! A new action is one file here, one line in [`REGISTRY`], and one variant of the domain's
//! `Action` with its settings. The suite below runs for all of them. To come:
//! restore.

mod ask;
mod drop_logs;
mod fail_over;
mod isolate;
mod move_streams;
mod promote;
mod reload;
mod renew;
mod restart;
mod scale;
mod script;
mod wait;
mod webhook;

use evenkeel_domain::incident::{Hands, Incident, Millis, Reach, Seen, Step};

/// What an action touches beside the replica that is out of traffic anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blast {
    /// Nothing.
    Nothing,
    /// What is under way on the replica.
    Streams,
    /// The replica's process and all it holds.
    Process,
    /// Memory, processors and GPUs of the hosts where its service runs.
    Hosts,
    /// Old logs of our own.
    Logs,
    /// Every request of its service, and who answers in its place.
    Service,
    /// Whatever its command or URL touches: the operator knows.
    Outside,
}

impl Blast {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing else",
            Self::Streams => "what is under way on it",
            Self::Process => "its process",
            Self::Hosts => "room on the hosts of its service",
            Self::Logs => "old logs of Evenkeel's own",
            Self::Service => "all requests of its service, and who answers them",
            Self::Outside => "what its command or URL touches",
        }
    }
}

/// What an action is given.
#[derive(Debug, Clone)]
pub struct Task {
    /// The incident, with the step under `doing`.
    pub incident: Incident,
    /// The step.
    pub step: Step,
    /// Names this in the world; the same when it is done again after a crash.
    pub key: String,
    /// The replica's start when it began.
    pub incarnation: u64,
    /// When it is given up.
    pub until: Millis,
}

/// Does one thing. Doing it twice under one key has the effect of doing it once, as far as
/// the world lets it be seen; what cannot be seen is done at least once.
pub trait Action: Send + Sync {
    /// Its name, as the configuration spells it.
    fn name(&self) -> &'static str;

    /// What it touches.
    fn blast(&self) -> Blast;

    /// How it is undone; `None` for what cannot be.
    fn undo(&self) -> Option<&'static str>;

    /// Whether the world shows that it was done: then it is not done again.
    fn is_done(&self, task: &Task, seen: &Seen) -> bool;

    /// Does it. Answers with a word for the journal, or with why it could not be done.
    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String>;
}

/// All actions.
pub static REGISTRY: &[&dyn Action] = &[
    &isolate::Isolate,
    &wait::Wait,
    &restart::Restart,
    &renew::Renew,
    &drop_logs::DropLogs,
    &promote::Promote,
    &scale::Scale,
    &fail_over::FailOver,
    &move_streams::MoveStreams,
    &reload::Reload,
    &script::Script,
    &webhook::Webhook,
    &ask::Ask,
];

/// The action of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Action> {
    REGISTRY.iter().find(|action| action.name() == name).copied()
}

/// A step that reached the wrong action: a fault in this program.
fn not_mine<T>(name: &str) -> Result<T, String> {
    Err(format!("this step is no {name}"))
}

#[cfg(test)]
mod suite;
