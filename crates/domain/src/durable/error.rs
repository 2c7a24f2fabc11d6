//! Why a store did not do what it was asked to.

/// A bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of all content together.
    Bytes,
    /// Number of files.
    Files,
    /// Number of batches that have not ended.
    OpenBatches,
}

impl Limit {
    /// The setting that moves it.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Bytes => "max_bytes",
            Self::Files => "max_files",
            Self::OpenBatches => "max_open_batches",
        }
    }
}

/// Why a store did not do what it was asked to. Nothing was changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, or it belongs to another owner. The caller's fault.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `file` or `batch`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// It cannot become that from what it is. The caller's fault.
    #[error("{id} is {status}")]
    Conflict {
        /// The batch.
        id: String,
        /// Its status.
        status: &'static str,
    },
    /// The call makes no sense. A fault in this program.
    #[error("{0}")]
    Invalid(String),
    /// A bound is reached; it goes on once something is deleted or has ended.
    #[error("the store's `{}` of {max} is reached", limit.setting())]
    Full {
        /// Which bound.
        limit: Limit,
        /// How much it allows.
        max: u64,
    },
    /// The disk is full. Works again once there is room.
    #[error("no space is left on the disk that holds the store")]
    NoSpace,
    /// Another holds the lease by now. Stop; what was being written is theirs to do.
    #[error("another process holds the lease on batch work")]
    Fenced,
    /// What is stored contradicts itself. A person must act.
    #[error("{0}")]
    Corrupt(String),
    /// The store cannot be reached or is busy. Worth trying again.
    #[error("{0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether the same call may succeed later with nobody changing anything in it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace | Self::Unavailable(_))
    }

    /// [`StoreError::NotFound`] for a file.
    #[must_use]
    pub fn no_file(id: &super::FileId) -> Self {
        Self::NotFound { what: "file", id: id.as_str().to_owned() }
    }

    /// [`StoreError::NotFound`] for a batch.
    #[must_use]
    pub fn no_batch(id: &super::BatchId) -> Self {
        Self::NotFound { what: "batch", id: id.as_str().to_owned() }
    }

    /// [`StoreError::Conflict`].
    #[must_use]
    pub fn conflict(id: &super::BatchId, status: super::BatchStatus) -> Self {
        Self::Conflict { id: id.as_str().to_owned(), status: status.label() }
    }
}
