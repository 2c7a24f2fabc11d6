//! What SQLite says, in the words of the domain: whose fault it is, and what helps.

use evenkeel_domain::durable::StoreError;
use std::io;
use std::path::{Path, PathBuf};

/// SQLite's result codes that mean something of their own here; the lower byte of what it
/// answers. See <https://sqlite.org/rescode.html>.
mod code {
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// Why a store could not be opened. Each says what helps.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory cannot be made or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged ({detail}); restore it from a backup, or move it and its -wal and -shm \
         files away to begin with an empty store", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The file is a database of another program.
    #[error("{} belongs to another program; give the store a path of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this program has written the file.
    #[error(
        "{} was written by a newer version (format {found}, known up to {known}); run that \
         version", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The store is sealed and no key was given.
    #[error("{} is sealed; set `key_file` or `key_env` to the key it was made with", path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The store is sealed with another key.
    #[error(
        "{} is sealed with another key; give the key it was made with, or move the file away \
         to begin with an empty store", path.display()
    )]
    KeyWrong {
        /// The file.
        path: PathBuf,
    },
    /// SQLite did not do it. Worth trying again.
    #[error("{}: {detail}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}

/// What goes wrong inside: SQLite's or ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault {
    pub(crate) fn corrupt(detail: impl Into<String>) -> Self {
        Self::Store(StoreError::Corrupt(detail.into()))
    }

    /// What a caller of the store at `path` is told.
    pub(crate) fn told(self, path: &Path) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Sql(error) => error,
        };
        match primary(&error) {
            Some(code::FULL) => StoreError::NoSpace,
            Some(code::CORRUPT | code::NOT_A_DATABASE) => {
                let detail = error.to_string();
                StoreError::Corrupt(OpenError::Corrupt { path: path.into(), detail }.to_string())
            }
            _ => StoreError::Unavailable(format!("{}: {error}", path.display())),
        }
    }
}

impl OpenError {
    pub(crate) fn of(error: sqlx::Error, path: &Path) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        match primary(&error) {
            Some(code::CORRUPT | code::NOT_A_DATABASE) => Self::Corrupt { path, detail },
            _ => Self::Unavailable { path, detail },
        }
    }
}

/// SQLite's code without what extends it.
fn primary(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}
