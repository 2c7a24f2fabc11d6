//! Jobs: commands that must reach their end.
//!
//! ```text
//!   Running ── exit 0 ──► Done
//!     │  ▲
//!     │  └─ Waiting ◄─ from the last good checkpoint ─┐
//!     └─ crash, hang ─────────────────────────────────┴─ too often ──► GivenUp
//! ```

use crate::orchestrator::LogSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where a job keeps what it can go on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSettings {
    /// Directory in which each checkpoint is a directory or a file.
    pub dir: PathBuf,
    /// What their names look like: `*` stands for any text, such as `step-*`. The number
    /// at the end of a name is its step.
    #[serde(default = "any_name")]
    pub pattern: String,
    /// Lines of output that hold this text show that the job moves.
    #[serde(default)]
    pub progress: Option<String>,
    /// A file within the checkpoint that the job writes last. Without it a checkpoint
    /// counts once it has been quiet, and the job has moved after that.
    #[serde(default)]
    pub complete: Option<String>,
    /// How long nothing must have been written to a checkpoint before it counts.
    #[serde(default = "quiet", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub quiet: Duration,
}

fn any_name() -> String {
    "*".into()
}

/// Longer than a flush between two files of one checkpoint.
fn quiet() -> Duration {
    Duration::from_secs(2)
}

/// A command that must reach its end, and what is done until it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    /// Its name.
    pub name: String,
    /// Program and arguments. `{checkpoint}` is replaced by the path of the checkpoint to
    /// go on from, and by nothing before the first.
    pub command: Vec<String>,
    /// Environment of the command. `EVENKEEL_CHECKPOINT` is set beside it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory of the command.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// User to run the command as.
    #[serde(default)]
    pub user: Option<String>,
    /// The node it runs on; here by default. Its checkpoints are there, too.
    #[serde(default)]
    pub node: Option<String>,
    /// What it can go on from; without it each start is from the beginning.
    #[serde(default)]
    pub checkpoint: Option<CheckpointSettings>,
    /// It hangs when for so long there was neither a new checkpoint nor a line of progress
    /// (of any output, where `checkpoint.progress` is not set). Absent: it never does.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub hang_after: Option<Duration>,
    /// It is given up when it failed more often than this within `within`.
    #[serde(default = "max_restarts")]
    pub max_restarts: u32,
    /// See `max_restarts`.
    #[serde(default = "within", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// It is given up when it failed so often in a row without a new checkpoint.
    #[serde(default = "same_step")]
    pub same_step: u32,
    /// Wait before the second start from the same checkpoint; it doubles up to a minute.
    #[serde(default = "backoff", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
    /// How long it may take to end before it is killed.
    #[serde(default = "stop_grace", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub stop_grace: Duration,
    /// Its output.
    #[serde(skip)]
    pub log: LogSettings,
}

/// Training for weeks loses machines and not patience.
fn max_restarts() -> u32 {
    10
}

fn within() -> Duration {
    Duration::from_secs(3600)
}

/// What fails at the same place three times fails there a fourth time.
fn same_step() -> u32 {
    3
}

fn backoff() -> Duration {
    Duration::from_secs(1)
}

fn stop_grace() -> Duration {
    Duration::from_secs(30)
}

/// Where a job is in its life. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum JobStage {
    /// It is started again soon.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It was asked to end and has not yet.
    Stopping,
    /// It has reached its end.
    Done,
    /// It has failed too often; a person has to look.
    GivenUp,
    /// A person has stopped it.
    Stopped,
}

impl JobStage {
    /// Its name in tables and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::GivenUp => "given_up",
            Self::Stopped => "stopped",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Stopping, Self::Done, Self::GivenUp, Self::Stopped];
}

/// One time that a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// When it ended.
    pub at_unix_ms: u64,
    /// How it ended.
    pub how: String,
    /// The last good checkpoint then; empty for none.
    pub checkpoint: String,
    /// What was done since that checkpoint, or since its start: lost.
    pub lost_ms: u64,
}

/// What is known of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// The node it runs on; absent: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub stage: JobStage,
    /// Why it is there, in a few words.
    pub why: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// When this start of it began.
    pub started_unix_ms: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How often it failed.
    pub failures: u64,
    /// The newest of those, oldest first.
    pub last_failures: Vec<JobFailure>,
    /// The newest checkpoint that counts; empty for none.
    pub checkpoint: String,
    /// When that was written.
    pub checkpoint_unix_ms: Option<u64>,
    /// What this start goes on from; empty for the beginning.
    pub from: String,
    /// Checkpoints that were left out because they are not as they were written.
    pub broken: Vec<String>,
    /// Work that was lost by failures, in milliseconds.
    pub lost_ms: u64,
    /// What it printed last.
    pub progress: Option<String>,
    /// The last lines before its last failure.
    pub last_lines: Vec<String>,
}

/// What a person orders about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOrder {
    /// Start it (again), from its last good checkpoint; what was counted against it is
    /// forgotten.
    Restart,
    /// Stop it until it is restarted.
    Stop,
}
