//! Whether the journal is as it was written.

use super::chain::{Chain, Hash, Link, digest, known};
use super::{FORMAT, hex};
use crate::error::{Fault, OpenError};
use crate::open::{self, BUSY};
use crate::rows::unsigned;
use evenkeel_domain::incident::Entry;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::path::Path;

/// Rows that are read at once.
const PAGE: i64 = 500;

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Tampered {
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row was changed, added or removed.
    #[error("{what}")]
    Broken {
        /// The first row that does not fit.
        seq: u64,
        /// What is wrong.
        what: String,
    },
}

/// Reads the whole chain and compares. `noted` is a head that was noted before, as number and
/// hash: rows up to there must be the same. Changes nothing; Evenkeel may be running.
///
/// # Errors
/// [`Tampered`], with the first row that does not fit.
pub async fn verify(path: &Path, noted: Option<(u64, &str)>) -> Result<Chain, Tampered> {
    let fail = |error| OpenError::of(error, path);
    let connect = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
    let mut reader = connect.connect().await.map_err(fail)?;
    open::recognise(&mut reader, path, &FORMAT).await?;
    // One moment of it, while it is written to.
    let mut tx = reader.begin().await.map_err(fail)?;
    match walk(&mut tx, noted).await {
        Ok(Ok(chain)) => Ok(chain),
        Ok(Err((seq, what))) => Err(Tampered::Broken { seq, what }),
        Err(fault) => {
            let detail = fault.to_string();
            Err(OpenError::Corrupt { path: path.to_owned(), detail }.into())
        }
    }
}

type Found<T> = Result<T, (u64, String)>;

async fn walk(
    tx: &mut SqliteConnection,
    noted: Option<(u64, &str)>,
) -> Result<Found<Chain>, Fault> {
    let row = sqlx::query("SELECT * FROM chain").fetch_one(&mut *tx).await?;
    let base = unsigned(row.try_get("base_seq")?);
    let head = unsigned(row.try_get("head_seq")?);
    let (mut seq, mut hash) = (base, known(row.try_get("base_hash")?)?);
    let head_hash = known(row.try_get("head_hash")?)?;
    let mut seen = noted.is_none_or(|(at, wanted)| at == base && wanted == hex(&hash));
    loop {
        let page = "SELECT * FROM row WHERE seq > ? ORDER BY seq LIMIT ?";
        let at = i64::try_from(seq).unwrap_or(i64::MAX);
        let page = sqlx::query(page).bind(at).bind(PAGE).fetch_all(&mut *tx).await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            match next(row, seq, &hash)? {
                Ok(found) => (seq, hash) = (seq + 1, found),
                Err(broken) => return Ok(Err(broken)),
            }
            if noted.is_some_and(|(at, _)| at == seq) {
                seen = noted.is_some_and(|(_, wanted)| wanted == hex(&hash));
            }
        }
    }
    if (seq, hash) != (head, head_hash) {
        let what = format!(
            "the chain ends with row {seq}, and should with row {head}: rows at its end were changed or removed"
        );
        return Ok(Err((seq + 1, what)));
    }
    if let Some((at, _)) = noted.filter(|_| !seen) {
        return Ok(Err((at, format!("row {at} is not the one whose hash was noted"))));
    }
    if let Some(broken) = states(tx).await? {
        return Ok(Err(broken));
    }
    Ok(Ok(Chain::new(seq - base, seq, &hash, base)))
}

/// The row behind row `before`, or what is wrong with it.
fn next(row: &SqliteRow, before: u64, hash: &Hash) -> Result<Found<Hash>, Fault> {
    let seq = unsigned(row.try_get("seq")?);
    if seq != before + 1 {
        let what = format!("row {} is missing", before + 1);
        return Ok(Err((before + 1, what)));
    }
    let part = |column| -> Result<Option<Hash>, Fault> {
        row.try_get::<Option<Vec<u8>>, _>(column)?.as_deref().map(known).transpose()
    };
    let entry = Entry {
        at: unsigned(row.try_get("at")?),
        incident: row.try_get("incident")?,
        kind: row.try_get("kind")?,
        text: row.try_get("text")?,
    };
    let writer: String = row.try_get("writer")?;
    let link = Link {
        seq,
        entry: &entry,
        incident: part("incident_digest")?,
        standing: part("standing_digest")?,
        writer: &writer,
        epoch: unsigned(row.try_get("epoch")?),
    };
    let found = link.hash(hash);
    if found != known(row.try_get("hash")?)? {
        return Ok(Err((seq, format!("row {seq} was changed"))));
    }
    Ok(Ok(found))
}

/// A state that is not the one its last row led to.
async fn states(tx: &mut SqliteConnection) -> Result<Option<(u64, String)>, Fault> {
    let all = "SELECT 'incident ' || i.id AS what, i.last, i.state, r.incident_digest AS digest
               FROM incident i LEFT JOIN row r ON r.seq = i.last
               UNION ALL
               SELECT 'what stands beside incidents', s.last, s.state, r.standing_digest
               FROM standing s LEFT JOIN row r ON r.seq = s.last";
    let base = sqlx::query_scalar("SELECT base_seq FROM chain");
    let base: i64 = base.fetch_one(&mut *tx).await?;
    for row in sqlx::query(all).fetch_all(&mut *tx).await? {
        let last: i64 = row.try_get("last")?;
        let kept: Option<Vec<u8>> = row.try_get("digest")?;
        let state: String = row.try_get("state")?;
        // A state older than the chain has nothing left to compare it with.
        if last > base && kept.as_deref() != Some(digest(&state).as_slice()) {
            let what: String = row.try_get("what")?;
            return Ok(Some((unsigned(last), format!("{what} was changed"))));
        }
    }
    Ok(None)
}
