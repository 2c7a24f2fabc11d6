//! Why a run could not be made; failures of requests are no errors but results.

use std::path::PathBuf;

/// Why a run could not start or finish. The text names what to change.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The settings contradict themselves or cannot be carried out.
    #[error("{0}")]
    Settings(String),
    /// A file named in the settings cannot be used.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is the matter with it.
        why: String,
    },
    /// The reference did not give the right answers to compare with.
    #[error("reference {url}: {why}")]
    Reference {
        /// The reference's URL.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// Ended before the first request was sent, so there is nothing to report.
    #[error("ended before the first request")]
    Interrupted,
    /// A worker thread could not start or died.
    #[error("worker: {0}")]
    Worker(String),
}

impl LoadError {
    pub(crate) fn file(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), why: why.to_string() }
    }
}
