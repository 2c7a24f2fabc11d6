//! Playbooks: what is done about an incident, in which order, and within which limits.

use super::Elsewhere;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Takes the replica out of traffic, if it is not out already.
    Isolate,
    /// Leaves it alone for the time of the step: it may come back by itself.
    Wait,
    /// Stops and starts its process.
    Restart {
        /// How long it may take to end before it is killed.
        grace: Duration,
    },
    /// Drains it and starts its process anew, at a quiet time.
    Renew,
    /// Drops old logs of Evenkeel's own from the disk that fills.
    DropLogs,
    /// Has a standby of its service take over, if too few others serve.
    Promote,
    /// Starts more copies of its service, until the incident is over.
    Scale {
        /// How many.
        more: More,
    },
    /// Has another service answer the requests of its own, where none of its replicas can,
    /// until the incident is over.
    FailOver {
        /// Who answers.
        to: Elsewhere,
    },
    /// Moves what is under way on it to its peers.
    MoveStreams,
    /// Has the model server load its model again, by a request of its own.
    Reload {
        /// Path on the replica.
        path: String,
        /// JSON body.
        body: String,
    },
    /// Runs a command.
    Script {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Tells a URL, with the incident as JSON.
    Webhook {
        /// The URL.
        url: String,
    },
    /// Asks a person to approve what follows.
    Ask {
        /// What is asked.
        text: String,
    },
}

/// How many copies a service shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum More {
    /// So many more than when the step begins.
    Add(u32),
    /// So many.
    Copies(u32),
}

impl Action {
    /// The names of all actions, as the configuration spells them.
    pub const NAMES: [&str; 13] = [
        "isolate",
        "wait",
        "restart",
        "renew",
        "drop_logs",
        "promote",
        "scale",
        "fail_over",
        "move_streams",
        "reload",
        "script",
        "webhook",
        "ask",
    ];

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Wait => "wait",
            Self::Restart { .. } => "restart",
            Self::Renew => "renew",
            Self::DropLogs => "drop_logs",
            Self::Promote => "promote",
            Self::Scale { .. } => "scale",
            Self::FailOver { .. } => "fail_over",
            Self::MoveStreams => "move_streams",
            Self::Reload { .. } => "reload",
            Self::Script { .. } => "script",
            Self::Webhook { .. } => "webhook",
            Self::Ask { .. } => "ask",
        }
    }

    /// Whether it changes the target: such steps count against the limits. A script may do
    /// anything, so it does.
    #[must_use]
    pub const fn changes(&self) -> bool {
        matches!(
            self,
            Self::Restart { .. } | Self::Renew | Self::Reload { .. } | Self::Script { .. }
        )
    }

    /// Whether it ends its process and starts another.
    #[must_use]
    pub const fn restarts(&self) -> bool {
        matches!(self, Self::Restart { .. } | Self::Renew)
    }
}

/// When a step is done; otherwise it is passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// In any case.
    #[default]
    Always,
    /// Evenkeel runs its process.
    Supervised,
    /// It runs somewhere else.
    Remote,
    /// Evenkeel runs its process, and it is there.
    Running,
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
}

impl When {
    /// Its name, as the configuration spells it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Supervised => "supervised",
            Self::Remote => "remote",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Refusing => "refusing",
            Self::Hung => "hung",
            Self::Lying => "lying",
            Self::Failing => "failing",
            Self::Absent => "absent",
        }
    }
}

/// How is found out whether a step has helped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The health authority says within the step's time that it serves.
    #[default]
    Serves,
    /// Not at all: the next step follows.
    None,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    #[serde(flatten)]
    pub action: Action,
    /// On which condition.
    pub when: When,
    /// For the action, and again for its verification.
    pub timeout: Duration,
    /// How it is verified.
    pub verify: Verify,
    /// How often it is tried before the next one follows.
    pub tries: u32,
}

/// What a playbook is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Replicas of this service that do not serve.
    Service(String),
    /// Replicas of this service that will reach a limit.
    Foreseen(String),
    /// What this check sees ahead, whoever has it.
    Check(String),
}

/// Steps, and what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    /// For what.
    pub about: About,
    /// In this order. An incident with no step left is escalated.
    pub steps: Vec<Step>,
}

/// What recovery may do, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Whether it acts; otherwise it only writes down what it would do.
    pub act: bool,
    /// Restarts of one replica within `window`, the supervisor's included, before a person is
    /// called: a fourth is rarely what helps.
    pub restarts: u32,
    /// How far back the limits look.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// The wait after a first restart; it doubles with each.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
    /// The longest wait.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff_max: Duration,
    /// So long without a restart, and the waits begin anew.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub clean: Duration,
    /// Replicas of a service that must be left serving when one that still serves is changed.
    pub floor: u32,
    /// Share of a service's replicas that are changed at once, in percent; one in any case.
    pub at_once_percent: u32,
    /// Replicas changed within `window` above which everything stops until a person resets
    /// it; the larger of this and `storm_percent` counts.
    pub storm_targets: u32,
    /// The same as a share of all replicas, in percent.
    pub storm_percent: u32,
    /// How long a replica that runs and fails may take to come back before it is restarted.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub patience: Duration,
    /// How long a replica that runs elsewhere may be out before a person is called.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub remote_patience: Duration,
    /// How long it must serve before the incident is over.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub probation: Duration,
    /// Rows of the journal that are kept; older ones of incidents that are over go.
    pub keep_rows: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            act: true,
            restarts: 3,
            window: Duration::from_secs(600),
            backoff: Duration::from_secs(10),
            backoff_max: Duration::from_secs(300),
            clean: Duration::from_secs(600),
            floor: 1,
            at_once_percent: 20,
            storm_targets: 3,
            storm_percent: 30,
            // Twice the first isolation by statistics, after which it may come back by itself.
            patience: Duration::from_secs(60),
            remote_patience: Duration::from_secs(300),
            // As long as a replica's share takes to grow.
            probation: Duration::from_secs(60),
            // A month of one incident an hour, some 15 rows each; about 50 MB.
            keep_rows: 10_000,
        }
    }
}
