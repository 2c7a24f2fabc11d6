//! What the keeper and a guard say to each other: JSON lines over two pipes.
//!
//! ```text
//!   keeper ── Launch, then ready | term | kill ──► guard's stdin   (the lifeline)
//!   keeper ◄─────────── Report, one per line ───── guard's stdout
//! ```
//!
//! The launch goes over the pipe, not the command line: environments hold secrets,
//! and command lines are there for every user to read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use evenkeel_domain::orchestrator::LogSettings;
use serde::{Deserialize, Serialize};

/// Marks every process of one start, in its environment. What a guard that was killed
/// left behind is found by it.
pub(crate) const RUN_VARIABLE: &str = "EVENKEEL_RUN";

/// The first line on the lifeline: what to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) log: PathBuf,
    pub(crate) log_settings: LogSettings,
}

/// The later lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It serves: its progress is of no interest any more.
    Ready,
    /// Ask the command to end.
    Term,
    /// Kill the whole tree.
    Kill,
}

impl Order {
    pub(crate) fn line(self) -> &'static [u8] {
        match self {
            Self::Ready => b"ready\n",
            Self::Term => b"term\n",
            Self::Kill => b"kill\n",
        }
    }

    /// `None` for a word this version does not know, which is ignored.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "ready" => Some(Self::Ready),
            "term" => Some(Self::Term),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// What a guard tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The command runs.
    Started { pid: u32 },
    /// What it printed last, once a second at most and only until it is ready.
    Progress { line: String },
    /// The command ended and so did all its descendants, except those in `left`,
    /// which not even SIGKILL ended in time. The last report.
    Exited { code: Option<i32>, signal: Option<i32>, left: Vec<u32>, tail: Vec<String> },
    /// The command cannot be started. The last report.
    Failed { message: String },
}
