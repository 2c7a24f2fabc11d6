//! The port of alerts to what survives a restart.

use super::Millis;
use crate::durable::StoreError;
use std::future::Future;
use std::pin::Pin;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// An alert that is not over, or of which not all is told.
    Alert,
    /// A group of them.
    Group,
    /// A silence.
    Silence,
    /// A message that is not delivered.
    Message,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alert, Self::Group, Self::Silence, Self::Message];

    /// Its name in a store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Group => "group",
            Self::Silence => "silence",
            Self::Message => "message",
        }
    }
}

/// One thing that is kept, as JSON of whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// About what.
    pub table: Table,
    /// Its name there.
    pub key: String,
    /// What is so; `None`: it is not kept any more.
    pub body: Option<String>,
}

/// Something that happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: Millis,
    /// The alert; empty for what is about none.
    pub alert: String,
    /// A word: `fires`, `delivered`, `resolved`, …
    pub kind: String,
    /// What.
    pub text: String,
}

/// What a method of [`AlertStore`] answers with.
pub type AlertFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Where alerts are kept. What was answered with `Ok` survives a crash.
pub trait AlertStore: Send + Sync {
    /// Takes alerting over and gives the epoch, which rises by one. From now on what others
    /// write is refused.
    fn take(&self) -> AlertFuture<'_, u64>;

    /// All documents, by table and key.
    fn load(&self) -> AlertFuture<'_, Vec<Doc>>;

    /// Writes in one transaction; `false`, and nothing is written, where another process has
    /// taken over.
    fn write<'a>(&'a self, epoch: u64, docs: &'a [Doc], past: &'a [Past]) -> AlertFuture<'a, bool>;

    /// The newest of what happened, newest first. Some thousands are kept.
    fn past(&self, limit: u32) -> AlertFuture<'_, Vec<Past>>;
}
