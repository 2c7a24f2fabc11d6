//! What keeper and agent say to each other.
//!
//! ```text
//!   Hello ──►           ◄── Greeting (or a refusal, and the end)
//!   command: Call ──►   ◄── Said: instances, jobs, answers
//!   beat:    Beat ──►   ◄── Ack
//!   log:                ◄── Lines, Lines, …
//! ```

use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use evenkeel_domain::node::Peer;
use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, OrchestratorError, Outdated};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Both ends must speak the same.
pub(crate) const VERSION: u32 = 1;

/// The first message on a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) wants: Wants,
}

/// What a connection is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Wants {
    /// To command. The keeper's alone.
    Command {
        /// Which start of which keeper.
        term: Term,
        /// How long what runs goes on without a keeper; `None`: for ever.
        orphan_after: Option<Duration>,
    },
    /// To beat. The keeper's, and other nodes'.
    Beat {
        /// The node that beats; `None` for the keeper.
        from: Option<String>,
    },
    /// To read a log. The keeper's alone.
    Log {
        /// The instance or job.
        name: String,
        /// The last so many lines first.
        lines: usize,
        /// And what is written from then on.
        follow: bool,
    },
}

/// One start of a keeper: later ones have a higher epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Rises with each start.
    pub epoch: u64,
    /// Tells two starts with the same epoch apart, which there should not be.
    pub nonce: u64,
}

/// The agent's answer to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Welcome {
        /// This start of the agent.
        life: u64,
        /// When its certificate ends (seconds since the Unix epoch).
        expires_unix_s: u64,
    },
    Refused {
        /// In one line, with what helps.
        why: String,
        /// The highest epoch it has obeyed.
        epoch: u64,
    },
}

/// What the keeper wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Counts on this connection.
    pub(crate) id: u64,
    /// The same when a call is sent again: it is then not done again.
    pub(crate) key: String,
    pub(crate) order: Order,
}

/// The methods of the orchestrator, and what goes beyond it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    Ping,
    Apply { specs: Vec<InstanceSpec>, in_turn: bool },
    Start { name: String },
    Stop { name: String },
    Restart { name: String, grace: Option<Duration> },
    Scale { service: String, copies: u32 },
    MarkReady { name: String, incarnation: u64 },
    Jobs(Vec<JobSettings>),
    Job { name: String, order: JobOrder },
    Peers(Vec<Peer>),
}

/// What the agent says on a command connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Said {
    Instances(Vec<InstanceStatus>),
    Jobs(Vec<JobStatus>),
    Answer { id: u64, result: Result<Done, OrchestratorError> },
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Done {
    Taken,
    Restarting { incarnation: u64 },
    Outdated(Outdated),
}

/// One beat.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Beat {
    pub(crate) number: u64,
}

/// Its acknowledgement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ack {
    pub(crate) number: u64,
    /// Whom the agent hears: for each the time since it last did.
    pub(crate) hears: Vec<(String, Duration)>,
}

/// Lines of a log; none are a sign of life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<String>,
    /// Nothing follows.
    pub(crate) last: bool,
    /// It cannot be read.
    pub(crate) error: Option<String>,
}
