//! Jobs.

use evenkeel_domain::job::{JobFailure, JobStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A command that must reach its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// The node it runs on; absent: that of the keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `waiting`, `running`, `stopping`, `done`, `given_up` or `stopped`.
    pub stage: String,
    /// Why it is there.
    pub why: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// When this start of it began.
    pub started_unix_ms: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How often it failed.
    pub failures: u64,
    /// The newest of those that count against it, oldest first.
    pub last_failures: Vec<JobFailureView>,
    /// The newest checkpoint that counts; empty for none.
    pub checkpoint: String,
    /// When that was written.
    pub checkpoint_unix_ms: Option<u64>,
    /// What this start goes on from; empty for the beginning.
    pub from: String,
    /// Checkpoints that were left out because they are not as they were written.
    pub broken: Vec<String>,
    /// Work that was lost by failures.
    pub lost_ms: u64,
    /// What it printed last.
    pub progress: Option<String>,
    /// The last lines before its last failure.
    pub last_lines: Vec<String>,
}

/// One time that a job failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFailureView {
    /// When.
    pub at_unix_ms: u64,
    /// How it ended.
    pub how: String,
    /// The last good checkpoint then; empty for none.
    pub checkpoint: String,
    /// Work that was lost.
    pub lost_ms: u64,
}

impl From<JobStatus> for JobView {
    fn from(job: JobStatus) -> Self {
        Self {
            stage: job.stage.label().into(),
            name: job.name,
            node: job.node,
            why: job.why,
            pid: job.pid,
            started_unix_ms: job.started_unix_ms,
            starts: job.starts,
            failures: job.failures,
            last_failures: job.last_failures.into_iter().map(JobFailureView::from).collect(),
            checkpoint: job.checkpoint,
            checkpoint_unix_ms: job.checkpoint_unix_ms,
            from: job.from,
            broken: job.broken,
            lost_ms: job.lost_ms,
            progress: job.progress,
            last_lines: job.last_lines,
        }
    }
}

impl From<JobFailure> for JobFailureView {
    fn from(one: JobFailure) -> Self {
        let JobFailure { at_unix_ms, how, checkpoint, lost_ms } = one;
        Self { at_unix_ms, how, checkpoint, lost_ms }
    }
}
