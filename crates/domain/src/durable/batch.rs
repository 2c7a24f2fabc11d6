//! Batches, and the answers to their lines.
//!
//! ```text
//!  validating ──► in_progress ──► finalizing ──► completed
//!      │    │          │               └───────► expired
//!      │    └──────────┴──► cancelling ────────► cancelled
//!      └──► failed
//! ```

use super::{FileId, Millis, Owner};
use std::collections::BTreeMap;
use std::fmt;

/// A batch's id, such as `batch_3f…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(String);

impl BatchId {
    /// The id that `text` is. Any text will do: one that no batch has is found out by asking.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchStatus {
    /// Its file is to be read, or is being read.
    Validating,
    /// Its file makes no sense.
    Failed,
    /// Its lines are being answered.
    InProgress,
    /// All that will be answered is; its files are being written.
    Finalizing,
    /// Every line is answered.
    Completed,
    /// Its time ended before every line was answered.
    Expired,
    /// It was cancelled; what is under way may end.
    Cancelling,
    /// It was cancelled.
    Cancelled,
}

impl BatchStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// As the API spells it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a label means.
    #[must_use]
    pub fn parse(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.label() == label)
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }

    /// Whether `next` may follow: the picture above.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Validating => {
                matches!(next, Self::InProgress | Self::Failed | Self::Cancelling)
            }
            Self::InProgress => matches!(next, Self::Finalizing | Self::Cancelling),
            Self::Finalizing => matches!(next, Self::Completed | Self::Expired),
            Self::Cancelling => next == Self::Cancelled,
            Self::Failed | Self::Completed | Self::Expired | Self::Cancelled => false,
        }
    }
}

/// When a batch became what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Ordered.
    pub created: Millis,
    /// To be given up.
    pub expires: Millis,
    /// Found good.
    pub in_progress: Option<Millis>,
    /// Answered as far as it will be.
    pub finalizing: Option<Millis>,
    /// Ended well.
    pub completed: Option<Millis>,
    /// Found bad.
    pub failed: Option<Millis>,
    /// Given up.
    pub expired: Option<Millis>,
    /// Ordered to end.
    pub cancelling: Option<Millis>,
    /// Ended by order.
    pub cancelled: Option<Millis>,
}

impl Times {
    /// Notes when `status` was reached.
    pub fn note(&mut self, status: BatchStatus, now: Millis) {
        let slot = match status {
            BatchStatus::Validating => return,
            BatchStatus::Failed => &mut self.failed,
            BatchStatus::InProgress => &mut self.in_progress,
            BatchStatus::Finalizing => &mut self.finalizing,
            BatchStatus::Completed => &mut self.completed,
            BatchStatus::Expired => &mut self.expired,
            BatchStatus::Cancelling => &mut self.cancelling,
            BatchStatus::Cancelled => &mut self.cancelled,
        };
        *slot = Some(now);
    }

    /// When it was over, if it is.
    #[must_use]
    pub fn over(&self) -> Option<Millis> {
        self.completed.or(self.failed).or(self.expired).or(self.cancelled)
    }
}

/// How far a batch has come, in lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In its file; zero until that was read.
    pub total: u32,
    /// Answered with a 2xx.
    pub completed: u32,
    /// Answered otherwise, or never to be answered.
    pub failed: u32,
}

/// Tokens that answers said they used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read.
    pub input: u64,
    /// … of which came from a cache.
    pub cached: u64,
    /// Written.
    pub output: u64,
    /// … of which were reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// What is wrong with a batch's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// One word for programs.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// The parameter, if it is about one.
    pub param: Option<String>,
    /// The line, from 1, if it is about one.
    pub line: Option<u32>,
}

/// A batch to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// Whose it is.
    pub owner: Owner,
    /// The path that every line calls.
    pub endpoint: String,
    /// The file of lines.
    pub input: FileId,
    /// As the client spelt it.
    pub completion_window: String,
    /// The client's own notes.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How long its output and error files are kept, in milliseconds from when they are
    /// made; for good if absent.
    pub output_expires_after: Option<Millis>,
    /// When it was ordered.
    pub created_at: Millis,
    /// When it is given up.
    pub expires_at: Millis,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// What was ordered.
    pub order: NewBatch,
    /// Where it is in its life.
    pub status: BatchStatus,
    /// When it became what.
    pub times: Times,
    /// How far it has come.
    pub counts: Counts,
    /// What its answers used.
    pub tokens: Tokens,
    /// The model all its lines name, if it is one.
    pub model: Option<String>,
    /// What is wrong with its file.
    pub errors: Vec<InputError>,
    /// Answers that are good.
    pub output_file: Option<FileId>,
    /// The other lines.
    pub error_file: Option<FileId>,
}

impl Batch {
    /// A batch as it begins.
    #[must_use]
    pub fn new(id: BatchId, order: NewBatch) -> Self {
        let times =
            Times { created: order.created_at, expires: order.expires_at, ..Times::default() };
        Self {
            id,
            order,
            status: BatchStatus::Validating,
            times,
            counts: Counts::default(),
            tokens: Tokens::default(),
            model: None,
            errors: Vec::new(),
            output_file: None,
            error_file: None,
        }
    }
}

/// What came of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineResult {
    /// It was answered.
    Response {
        /// HTTP status.
        status: u16,
        /// Body, as one line of JSON.
        body: Vec<u8>,
    },
    /// It could not be.
    Error {
        /// One word for programs.
        code: String,
        /// One sentence for people.
        message: String,
    },
}

impl LineResult {
    /// Whether it counts as completed: a 2xx.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Response { status: 200..=299, .. })
    }

    /// Bytes that keeping it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Response { body, .. } => body.len() as u64,
            Self::Error { message, .. } => message.len() as u64,
        }
    }
}

/// The answer to one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The line, from 0.
    pub index: u32,
    /// Under which id the request ran.
    pub request_id: String,
    /// What came of it.
    pub result: LineResult,
    /// What it used.
    pub tokens: Tokens,
}

/// How a batch ends that was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every line is answered.
    Completed,
    /// Out of time.
    Expired,
    /// By order.
    Cancelled,
}

impl End {
    /// The status it ends in.
    #[must_use]
    pub fn status(self) -> BatchStatus {
        match self {
            Self::Completed => BatchStatus::Completed,
            Self::Expired => BatchStatus::Expired,
            Self::Cancelled => BatchStatus::Cancelled,
        }
    }
}

/// All that is noted when a batch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// How.
    pub end: End,
    /// Its output file, with how it is to be known; absent when it has no lines.
    pub output: Option<(FileId, super::FileAbout)>,
    /// The same for the other lines.
    pub errors: Option<(FileId, super::FileAbout)>,
    /// Lines that were never answered.
    pub unanswered: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back() {
        for status in BatchStatus::ALL {
            assert_eq!(BatchStatus::parse(status.label()), Some(status));
        }
        assert_eq!(BatchStatus::parse("gone"), None);
    }

    #[test]
    fn what_is_over_stays_so_and_all_else_goes_on() {
        for status in BatchStatus::ALL {
            let next = BatchStatus::ALL.into_iter().filter(|next| status.may_become(*next));
            assert_eq!(next.count() == 0, status.is_over(), "{status:?}");
        }
    }

    #[test]
    fn every_status_but_the_first_is_noted() {
        for status in BatchStatus::ALL {
            let mut times = Times::default();
            times.note(status, 7);
            let noted = times != Times::default();
            assert_eq!(noted, status != BatchStatus::Validating, "{status:?}");
            assert_eq!(times.over().is_some(), status.is_over(), "{status:?}");
        }
    }
}
