//! Alerts, in one SQLite file of their own: who is called must not hang on how large the
//! batches are.

use crate::error::{Fault, OpenError};
use crate::open::{self, Format};
use crate::rows::{signed, unsigned};
use crate::tx::{self, Writer};
use evenkeel_domain::alert::{AlertFuture, AlertStore, Doc, Past, Table};
use sqlx::{ConnectOptions, Row};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Alerts: `EVKA`.
const FORMAT: Format =
    Format { application: 0x4556_4b41, migrations: &[include_str!("../migrations/alert-1.sql")] };

/// Rows of what happened: weeks of a bad one.
const PAST: i64 = 5000;

/// Alerts in one SQLite file. What was written is on disk before its call is answered.
#[derive(Debug)]
pub struct AlertFile {
    writer: Arc<Mutex<Writer>>,
    name: String,
    path: PathBuf,
}

impl AlertFile {
    /// Opens the file, makes it if there is none, and brings it to the present format.
    /// `writer` names this process in it.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what helps.
    pub async fn open(path: &Path, writer: String) -> Result<Self, OpenError> {
        open::make(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let fail = |error| OpenError::of(error, path);
        let mut connection = open::connect_options(path).connect().await.map_err(fail)?;
        open::recognise(&mut connection, path, &FORMAT).await?;
        open::migrate(&mut connection, path, &FORMAT).await?;
        let held = Arc::new(Mutex::new(Writer::new(connection)));
        Ok(Self { writer: held, name: writer, path: path.to_owned() })
    }

    fn run<'a, T>(
        &'a self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> AlertFuture<'a, T> {
        Box::pin(async { work.await.map_err(|fault| fault.told(&self.path)) })
    }

    async fn take_over(&self) -> Result<u64, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let taken = "UPDATE keeper SET writer = ?, epoch = epoch + 1 RETURNING epoch";
        let epoch: i64 = sqlx::query_scalar(taken).bind(&self.name).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(unsigned(epoch))
    }

    async fn read_all(&self) -> Result<Vec<Doc>, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let mut all = Vec::new();
        for table in Table::ALL {
            let rows = "SELECT key, body FROM doc WHERE kind = ? ORDER BY key";
            for row in &sqlx::query(rows).bind(table.label()).fetch_all(&mut *tx).await? {
                let (key, body) = (row.try_get("key")?, Some(row.try_get("body")?));
                all.push(Doc { table, key, body });
            }
        }
        tx.commit().await?;
        Ok(all)
    }

    async fn write_all(&self, epoch: u64, docs: &[Doc], past: &[Past]) -> Result<bool, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let held: i64 = sqlx::query_scalar("SELECT epoch FROM keeper").fetch_one(&mut *tx).await?;
        if unsigned(held) != epoch {
            tx.commit().await?;
            return Ok(false);
        }
        for doc in docs {
            let query = match &doc.body {
                Some(body) => {
                    let put = "INSERT OR REPLACE INTO doc (kind, key, body) VALUES (?, ?, ?)";
                    sqlx::query(put).bind(doc.table.label()).bind(&doc.key).bind(body)
                }
                None => {
                    let gone = "DELETE FROM doc WHERE kind = ? AND key = ?";
                    sqlx::query(gone).bind(doc.table.label()).bind(&doc.key)
                }
            };
            query.execute(&mut *tx).await?;
        }
        for one in past {
            sqlx::query("INSERT INTO past (at, alert, kind, text) VALUES (?, ?, ?, ?)")
                .bind(signed(one.at))
                .bind(&one.alert)
                .bind(&one.kind)
                .bind(&one.text)
                .execute(&mut *tx)
                .await?;
        }
        if !past.is_empty() {
            let old = "DELETE FROM past WHERE seq <= (SELECT MAX(seq) FROM past) - ?";
            sqlx::query(old).bind(PAST).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn read_past(&self, limit: u32) -> Result<Vec<Past>, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let rows = "SELECT at, alert, kind, text FROM past ORDER BY seq DESC LIMIT ?";
        let rows = sqlx::query(rows).bind(i64::from(limit)).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Past {
                at: unsigned(row.try_get("at")?),
                alert: row.try_get("alert")?,
                kind: row.try_get("kind")?,
                text: row.try_get("text")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

impl AlertStore for AlertFile {
    fn take(&self) -> AlertFuture<'_, u64> {
        self.run(self.take_over())
    }

    fn load(&self) -> AlertFuture<'_, Vec<Doc>> {
        self.run(self.read_all())
    }

    fn write<'a>(&'a self, epoch: u64, docs: &'a [Doc], past: &'a [Past]) -> AlertFuture<'a, bool> {
        self.run(self.write_all(epoch, docs, past))
    }

    fn past(&self, limit: u32) -> AlertFuture<'_, Vec<Past>> {
        self.run(self.read_past(limit))
    }
}
