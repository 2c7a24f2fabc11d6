//! Transactions that write.
//!
//! SQLite ends a transaction by itself when the disk is full, and sqlx, which counts how
//! deep it is in transactions, then never begins another on that connection. So they are
//! begun and ended here, and a rollback that finds nothing to do is no fault.

use crate::error::Fault;
use sqlx::SqliteConnection;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The only connection that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: SqliteConnection,
    /// Whether a transaction may be under way that nobody owns.
    stray: bool,
}

impl Writer {
    pub(crate) fn new(connection: SqliteConnection) -> Self {
        Self { connection, stray: false }
    }

    pub(crate) fn into_inner(self) -> SqliteConnection {
        self.connection
    }

    async fn roll_back(&mut self) {
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        tracing::trace!(?ended, "rolled back");
        self.stray = false;
    }
}

/// A transaction. Dropped before it is committed, it is rolled back, and nobody else gets
/// the connection before that is done.
pub(crate) struct Tx(Option<OwnedMutexGuard<Writer>>);

/// Begins a transaction. Taking the lock at once keeps two processes from each waiting for
/// the other.
pub(crate) async fn begin(writer: &Arc<Mutex<Writer>>) -> Result<Tx, Fault> {
    let mut held = writer.clone().lock_owned().await;
    if held.stray {
        held.roll_back().await;
    }
    held.stray = true;
    let mut tx = Tx(Some(held));
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *tx).await?;
    Ok(tx)
}

impl Tx {
    /// Ends it; what it wrote is on disk when this returns `Ok`.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        sqlx::raw_sql("COMMIT").execute(&mut *self).await?;
        if let Some(mut held) = self.0.take() {
            held.stray = false;
        }
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut held) = self.0.take() else { return };
        // Without a runtime, whoever begins the next one ends this one.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { held.roll_back().await });
        }
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match &self.0 {
            Some(held) => &held.connection,
            None => unreachable!("only commit and drop take it"),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match &mut self.0 {
            Some(held) => &mut held.connection,
            None => unreachable!("only commit and drop take it"),
        }
    }
}
