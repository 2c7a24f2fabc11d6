//! Recovery's journal: incidents and what stands beside them, and the chain of rows that says
//! how they came to be so.

mod chain;
mod verify;

pub use chain::Chain;
pub use verify::{Tampered, verify};

use crate::error::{Fault, OpenError};
use crate::open::{self, Format};
use crate::rows::{signed, unsigned};
use crate::tx::{self, Tx, Writer};
use chain::{Hash, Link};
use evenkeel_domain::durable::StoreError;
use evenkeel_domain::incident::{
    Entry, Incident, Journal, JournalError, JournalFuture, Millis, Record, Row, Standing,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions, Row as _, SqliteConnection};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Recovery's journal: `EVKJ`.
const FORMAT: Format = Format {
    application: 0x4556_4b4a,
    migrations: &[include_str!("../../migrations/journal-1.sql")],
};
/// Reads at once: people's.
const READERS: u32 = 2;
/// Rows of one incident that are shown: far more than one has.
const SHOWN: i64 = 1000;

/// A journal in one SQLite file. A record is on disk before its call is answered.
#[derive(Debug)]
pub struct JournalFile {
    readers: SqlitePool,
    writer: Arc<Mutex<Writer>>,
    name: String,
    path: PathBuf,
}

impl JournalFile {
    /// Opens the journal, makes it if there is none, and brings it to the present format.
    /// `writer` names this process in its rows.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what helps.
    pub async fn open(path: &Path, writer: String) -> Result<Self, OpenError> {
        open::make(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let fail = |error| OpenError::of(error, path);
        let connect = open::connect_options(path);
        let mut connection = connect.connect().await.map_err(fail)?;
        open::recognise(&mut connection, path, &FORMAT).await?;
        open::migrate(&mut connection, path, &FORMAT).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_with(connect.pragma("query_only", "ON"))
            .await
            .map_err(fail)?;
        let held = Arc::new(Mutex::new(Writer::new(connection)));
        Ok(Self { readers, writer: held, name: writer, path: path.to_owned() })
    }

    /// Brings everything into the one file: what is left beside it is not needed to read it.
    /// Worth doing at the end; nothing is lost without it.
    pub async fn tidy(&self) {
        let tidied = async {
            let mut tx = tx::begin(&self.writer).await?;
            // Not within a transaction.
            sqlx::raw_sql("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); BEGIN")
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        };
        if let Err(fault) = tidied.await {
            tracing::debug!(error = %fault, "the journal was not tidied");
        }
    }

    fn run<'a, T>(
        &'a self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> JournalFuture<'a, T> {
        Box::pin(async {
            work.await.map_err(|fault| match fault.told(&self.path) {
                StoreError::Fenced => JournalError::Fenced,
                StoreError::Corrupt(why) => JournalError::Corrupt(why),
                other => JournalError::Unavailable(other.to_string()),
            })
        })
    }

    async fn begin(&self, epoch: Option<u64>) -> Result<Tx, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        if let Some(epoch) = epoch {
            let held: i64 =
                sqlx::query_scalar("SELECT epoch FROM owner").fetch_one(&mut *tx).await?;
            if held != signed(epoch) {
                return Err(StoreError::Fenced.into());
            }
        }
        Ok(tx)
    }

    async fn take_over(&self, now: Millis) -> Result<u64, Fault> {
        let mut tx = self.begin(None).await?;
        let taken = "UPDATE owner SET writer = ?, epoch = epoch + 1 RETURNING epoch";
        let epoch: i64 = sqlx::query_scalar(taken).bind(&self.name).fetch_one(&mut *tx).await?;
        let text = format!("taken over by {}", self.name);
        let entry = Entry { at: now, incident: None, kind: "taken".into(), text };
        let record = Record { entry, incident: None, standing: None };
        self.link(&mut tx, unsigned(epoch), &record).await?;
        tx.commit().await?;
        Ok(unsigned(epoch))
    }

    /// Appends a row to the chain and the states it leads to, within a transaction.
    async fn link(&self, tx: &mut Tx, epoch: u64, record: &Record) -> Result<(), Fault> {
        let incident = record.incident.as_ref().map(json).transpose()?;
        let standing = record.standing.as_ref().map(json).transpose()?;
        let (seq, before) = chain::head(tx).await?;
        let link = Link {
            seq: seq + 1,
            entry: &record.entry,
            incident: incident.as_deref().map(chain::digest),
            standing: standing.as_deref().map(chain::digest),
            writer: &self.name,
            epoch,
        };
        let hash = chain::append(tx, &link, &before).await?;
        if let (Some(incident), Some(state)) = (&record.incident, incident) {
            keep_incident(tx, incident, state, link.seq).await?;
        }
        if let Some(state) = standing {
            let keep = "INSERT INTO standing VALUES (1, ?1, ?2)
                        ON CONFLICT (one) DO UPDATE SET last = ?1, state = ?2";
            sqlx::query(keep).bind(signed(link.seq)).bind(state).execute(&mut **tx).await?;
        }
        chain::set_head(tx, link.seq, &hash).await
    }

    async fn load_all(&self) -> Result<(Vec<Incident>, Standing), Fault> {
        let open = "SELECT state FROM incident WHERE open = 1 ORDER BY first";
        let open: Vec<String> = sqlx::query_scalar(open).fetch_all(&self.readers).await?;
        let standing = sqlx::query_scalar("SELECT state FROM standing");
        let standing: Option<String> = standing.fetch_optional(&self.readers).await?;
        let open = open.iter().map(|text| read(text)).collect::<Result<_, _>>()?;
        let standing = standing.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok((open, standing))
    }

    async fn newest(&self, limit: u32) -> Result<Vec<Incident>, Fault> {
        let newest = "SELECT state FROM incident ORDER BY first DESC LIMIT ?";
        let newest = sqlx::query_scalar(newest).bind(i64::from(limit));
        let newest: Vec<String> = newest.fetch_all(&self.readers).await?;
        newest.iter().map(|text| read(text)).collect()
    }

    async fn whole(&self, id: &str) -> Result<Option<(Incident, Vec<Row>)>, Fault> {
        let state = sqlx::query_scalar("SELECT state FROM incident WHERE id = ?").bind(id);
        let state: Option<String> = state.fetch_optional(&self.readers).await?;
        let Some(state) = state else { return Ok(None) };
        let rows = "SELECT seq, at, incident, kind, text, writer, epoch FROM row
                    WHERE incident = ? ORDER BY seq LIMIT ?";
        let rows = sqlx::query(rows).bind(id).bind(SHOWN).fetch_all(&self.readers).await?;
        let rows = rows.iter().map(row).collect::<Result<_, _>>()?;
        Ok(Some((read(&state)?, rows)))
    }

    /// Old rows go from the front, so that the rest stays one chain.
    async fn cut(&self, epoch: u64, keep: u64, now: Millis) -> Result<u64, Fault> {
        let mut tx = self.begin(Some(epoch)).await?;
        let (head, _) = chain::head(&mut tx).await?;
        let old = "SELECT coalesce(min(first), ?) - 1 FROM incident WHERE open = 1";
        let before_open: i64 = sqlx::query_scalar(old).bind(i64::MAX).fetch_one(&mut *tx).await?;
        // What stays open for ever must not keep everything for ever.
        let wanted = head.saturating_sub(keep);
        let least = head.saturating_sub(keep.saturating_mul(2));
        let upto = wanted.min(unsigned(before_open)).max(least);
        let gone = chain::cut(&mut tx, upto).await?;
        if gone > 0 {
            let over = "DELETE FROM incident WHERE open = 0 AND last <= ?";
            sqlx::query(over).bind(signed(upto)).execute(&mut *tx).await?;
            let text = format!("{gone} rows up to {upto} were deleted as too old");
            let entry = Entry { at: now, incident: None, kind: "pruned".into(), text };
            let record = Record { entry, incident: None, standing: None };
            self.link(&mut tx, epoch, &record).await?;
        }
        tx.commit().await?;
        Ok(gone)
    }
}

impl Journal for JournalFile {
    fn take<'a>(&'a self, now: Millis) -> JournalFuture<'a, u64> {
        self.run(self.take_over(now))
    }

    fn append<'a>(&'a self, epoch: u64, record: &'a Record) -> JournalFuture<'a, ()> {
        self.run(async move {
            let mut tx = self.begin(Some(epoch)).await?;
            self.link(&mut tx, epoch, record).await?;
            tx.commit().await
        })
    }

    fn load(&self) -> JournalFuture<'_, (Vec<Incident>, Standing)> {
        self.run(self.load_all())
    }

    fn incidents(&self, limit: u32) -> JournalFuture<'_, Vec<Incident>> {
        self.run(self.newest(limit))
    }

    fn incident<'a>(&'a self, id: &'a str) -> JournalFuture<'a, Option<(Incident, Vec<Row>)>> {
        self.run(self.whole(id))
    }

    fn prune(&self, epoch: u64, keep: u64, now: Millis) -> JournalFuture<'_, u64> {
        self.run(self.cut(epoch, keep, now))
    }
}

async fn keep_incident(
    tx: &mut SqliteConnection,
    incident: &Incident,
    state: String,
    seq: u64,
) -> Result<(), Fault> {
    let keep = "INSERT INTO incident VALUES (?1, ?2, ?2, ?3, ?4)
                ON CONFLICT (id) DO UPDATE SET last = ?2, open = ?3, state = ?4";
    sqlx::query(keep)
        .bind(&incident.id)
        .bind(signed(seq))
        .bind(i64::from(incident.is_open()))
        .bind(state)
        .execute(tx)
        .await?;
    Ok(())
}

fn row(row: &SqliteRow) -> Result<Row, Fault> {
    Ok(Row {
        seq: unsigned(row.try_get("seq")?),
        writer: row.try_get("writer")?,
        epoch: unsigned(row.try_get("epoch")?),
        entry: Entry {
            at: unsigned(row.try_get("at")?),
            incident: row.try_get("incident")?,
            kind: row.try_get("kind")?,
            text: row.try_get("text")?,
        },
    })
}

fn json<T: Serialize>(state: &T) -> Result<String, Fault> {
    serde_json::to_string(state).map_err(|error| Fault::corrupt(error.to_string()))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text)
        .map_err(|error| Fault::corrupt(format!("the journal holds a state that is none: {error}")))
}

/// A hash as text.
fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
