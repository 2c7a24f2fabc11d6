//! The port to whatever runs replicas: start, stop, restart, scale.
//!
//! ```text
//!   config ──specs──► Orchestrator ──► processes of this node, agents, a cluster
//!   recovery ─restart─►     │
//!   health ──ready──►       └── InstanceStatus ──► admin, CLI, gateway's replica list
//! ```
//!
//! An **instance** is one supervised replica: its name is the replica's name. The
//! port speaks of wishes, not of steps: a call returns once the wish is taken, and
//! the statuses show how far it has come. So a caller never waits for a model to
//! load, and a wish that came twice does no harm.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[cfg(feature = "testing")]
pub mod suite;

/// What a method of [`Orchestrator`] answers with.
pub type OrchestratorFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, OrchestratorError>> + Send + 'a>>;

/// Instances that run with settings of before, each with the start that does.
pub type Outdated = Vec<(String, u64)>;

/// Where an instance's output goes and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    /// A file is rotated before it would grow beyond this many bytes.
    pub max_bytes: u64,
    /// Files kept in all, the one being written included. At least 1.
    pub files: u32,
}

impl Default for LogSettings {
    /// 16 MiB × 4: days of a model server's output, and too little to fill a disk.
    fn default() -> Self {
        Self { max_bytes: 16 << 20, files: 4 }
    }
}

/// How to run one instance. A change of what its process sees (command, environment,
/// directory, user, index, port) needs a restart; a change of the rest does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// The replica's name, unique on its node, such as `chat-1`.
    pub name: String,
    /// The service it serves.
    pub service: String,
    /// Program and arguments. `{port}`, `{index}` and `{name}` are replaced.
    pub command: Vec<String>,
    /// Added to the environment it inherits. Values are templates like `command`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; the orchestrator's own if absent.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// User to run as; the orchestrator's own if absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The node it runs on; absent: this one.
    #[serde(default)]
    pub node: Option<String>,
    /// Which copy this is, from 0: what `{index}` becomes.
    #[serde(default)]
    pub index: u32,
    /// A port that was configured. Absent: a free one is chosen.
    #[serde(default)]
    pub port: Option<u16>,
    /// How long it may take from its start until it is ready. Models load for minutes.
    pub startup_deadline: Duration,
    /// How long it may take to end after being asked to, before it is killed.
    pub stop_grace: Duration,
    /// Its output.
    #[serde(default)]
    pub log: LogSettings,
    /// A job: it is started once, needs no port, and what follows its end is for others to
    /// say.
    #[serde(default)]
    pub once: bool,
    /// It is not started until it is asked to be.
    #[serde(default)]
    pub dormant: bool,
}

impl InstanceSpec {
    /// Whether a process that runs under this spec must be replaced to run under `new`.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> bool {
        (&self.command, &self.env, &self.cwd, &self.user, self.index, self.port)
            != (&new.command, &new.env, &new.cwd, &new.user, new.index, new.port)
    }

    /// A spec with the defaults: 10 min to become ready, 30 s to stop.
    #[must_use]
    pub fn new(name: &str, service: &str, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            service: service.to_owned(),
            command: command.iter().map(|&part| part.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            node: None,
            index: 0,
            port: None,
            startup_deadline: Duration::from_secs(600),
            stop_grace: Duration::from_secs(30),
            log: LogSettings::default(),
            once: false,
            dormant: false,
        }
    }
}

/// Where an instance is in its life. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Its process runs and has not been found ready yet.
    Starting {
        /// When this start began.
        since_ms: u64,
        /// When it is given up and started anew.
        deadline_ms: u64,
    },
    /// It runs and was found ready.
    Ready,
    /// It ended and waits for its next start.
    Backoff {
        /// When it is started again.
        until_ms: u64,
    },
    /// It ends again and again; it is still tried, at the longest back-off.
    CrashLoop {
        /// When it is started again.
        until_ms: u64,
    },
    /// It was asked to end and has not yet.
    Stopping,
    /// It does not run and is not meant to.
    Stopped,
    /// It cannot be started until a person acts; it is still tried now and then.
    Failed {
        /// What is wrong and what helps, in one line.
        message: String,
        /// When it is tried again.
        until_ms: u64,
    },
}

impl Phase {
    /// The phase in one word, for tables and metric labels.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready => "ready",
            Self::Backoff { .. } => "backoff",
            Self::CrashLoop { .. } => "crash_loop",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether a process of this instance may exist.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Ready | Self::Stopping)
    }
}

/// What is known of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The replica's name.
    pub name: String,
    /// The service it serves.
    pub service: String,
    /// The node it runs on; absent: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub phase: Phase,
    /// The process that was started, while it runs.
    pub pid: Option<u32>,
    /// The process that watches over it on this node, while it runs.
    pub guard_pid: Option<u32>,
    /// The port it was given. Kept from start to start.
    pub port: Option<u16>,
    /// Counts its starts from 1; 0 before the first. The count ends with the
    /// orchestrator, as do all the processes it counted.
    pub incarnation: u64,
    /// Starts after the first, since the orchestrator began.
    pub restarts: u64,
    /// Ends that nobody had asked for, since the orchestrator began.
    #[serde(default)]
    pub ends: u64,
    /// Whether it is held to be in a crash loop, while it is being tried too.
    pub crash_loop: bool,
    /// How and when it last ended, in one line.
    pub last_exit: Option<String>,
    /// The code that it last exited with by itself; absent where a signal ended it.
    #[serde(default)]
    pub last_code: Option<i32>,
    /// The last lines of output before its last end, oldest first; few and short.
    pub last_lines: Vec<String>,
    /// What it printed last while starting: its progress.
    pub progress: Option<String>,
    /// When the running process was started (milliseconds since the Unix epoch).
    pub started_ms: Option<u64>,
    /// Its log file, if it has one on this node.
    pub log: Option<PathBuf>,
}

impl InstanceStatus {
    /// A status before anything has happened.
    #[must_use]
    pub fn new(name: &str, service: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: service.to_owned(),
            node: None,
            phase: Phase::Stopped,
            pid: None,
            guard_pid: None,
            port: None,
            incarnation: 0,
            restarts: 0,
            ends: 0,
            crash_loop: false,
            last_exit: None,
            last_code: None,
            last_lines: Vec::new(),
            progress: None,
            started_ms: None,
            log: None,
        }
    }

    /// How long it has been running at `now_ms`.
    #[must_use]
    pub fn uptime(&self, now_ms: u64) -> Option<Duration> {
        self.started_ms.map(|at| Duration::from_millis(now_ms.saturating_sub(at)))
    }
}

/// Why a wish was not taken. Each says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OrchestratorError {
    /// No instance has this name.
    #[error("no supervised replica is named \"{0}\"; `evenkeel status` lists them")]
    Unknown(String),
    /// The spec cannot be run as it is.
    #[error("{name}: {message}")]
    Spec {
        /// The instance.
        name: String,
        /// What is wrong and what helps.
        message: String,
    },
    /// This orchestrator does not do that.
    #[error("{0}")]
    Unsupported(String),
    /// It is shutting down or its back end cannot be reached.
    #[error("{0}")]
    Unavailable(String),
}

/// Runs instances.
///
/// Every method is idempotent. All return once the wish is taken, which is soon; the
/// statuses tell when it has come true.
pub trait Orchestrator: Send + Sync {
    /// Makes `specs` the whole of what runs: starts what is new, stops what is gone,
    /// restarts what differs and leaves the rest alone. One bad spec changes nothing.
    fn apply(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, ()>;

    /// As [`Orchestrator::apply`], but what is ready goes on with its old spec until it is
    /// restarted, so that a change of all instances is no outage. Gives each of those with
    /// the start that is outdated.
    fn apply_in_turn(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, Outdated>;

    /// Starts a stopped instance; nothing if it runs.
    fn start<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()>;

    /// Stops an instance until it is started again.
    fn stop<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()>;

    /// Stops and starts an instance at once, whatever its back-off. `grace` replaces
    /// the spec's `stop_grace` this time: what hangs need not be waited for. Answers
    /// with the incarnation that ends; a greater one that is ready is the wish come true.
    fn restart<'a>(&'a self, name: &'a str, grace: Option<Duration>)
    -> OrchestratorFuture<'a, u64>;

    /// Runs `copies` of the instances of a service. Stops the highest indices first
    /// and starts again what was stopped; what was never described cannot be made.
    fn scale<'a>(&'a self, service: &'a str, copies: u32) -> OrchestratorFuture<'a, ()>;

    /// Tells that a probe found an instance ready. Ignored if another incarnation
    /// runs by now.
    fn mark_ready<'a>(&'a self, name: &'a str, incarnation: u64) -> OrchestratorFuture<'a, ()>;

    /// All instances, by name.
    fn statuses(&self) -> OrchestratorFuture<'_, Vec<InstanceStatus>>;

    /// Follows the statuses: what a call has changed at once is seen when it has returned.
    fn subscribe(&self) -> watch::Receiver<Vec<InstanceStatus>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_json() {
        let phase = Phase::Failed { message: "no such program".into(), until_ms: 5 };
        let status = InstanceStatus { phase, pid: Some(3), ..InstanceStatus::new("a-1", "a") };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["phase"], &json["until_ms"]), (&"failed".into(), &5.into()));
        assert_eq!(serde_json::from_value::<InstanceStatus>(json).unwrap(), status);
    }

    #[test]
    fn only_what_the_process_sees_needs_a_restart() {
        let spec = InstanceSpec::new("a-1", "a", &["serve", "{port}"]);
        let longer = InstanceSpec { stop_grace: Duration::from_secs(99), ..spec.clone() };
        assert!(!spec.needs_restart(&longer));
        assert!(spec.needs_restart(&InstanceSpec { index: 1, ..spec.clone() }));
    }
}
