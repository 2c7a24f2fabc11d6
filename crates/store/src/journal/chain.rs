//! The chain of rows: each one's hash (SHA-256) covers all of it and the hash before.

use super::hex;
use crate::error::Fault;
use crate::rows::{signed, unsigned};
use evenkeel_domain::incident::Entry;
use ring::digest::{Context, SHA256};
use sqlx::{Row, SqliteConnection};

pub(super) type Hash = [u8; 32];

/// How a chain is, from end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Rows.
    pub rows: u64,
    /// The last row's number.
    pub head: u64,
    /// Its hash in hex: noted elsewhere, it proves later that nothing up to it was changed.
    pub hash: String,
    /// Rows deleted before the first as too old.
    pub pruned: u64,
}

/// A row before it has a hash.
pub(super) struct Link<'a> {
    pub(super) seq: u64,
    pub(super) entry: &'a Entry,
    pub(super) incident: Option<Hash>,
    pub(super) standing: Option<Hash>,
    pub(super) writer: &'a str,
    pub(super) epoch: u64,
}

pub(super) fn digest(text: &str) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(text.as_bytes());
    finish(context)
}

fn finish(context: Context) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl Link<'_> {
    /// Each part with its length before it, so that no two rows spell the same bytes.
    pub(super) fn hash(&self, before: &Hash) -> Hash {
        let mut context = Context::new(&SHA256);
        let mut part = |bytes: Option<&[u8]>| {
            let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
            context.update(&length.to_be_bytes());
            context.update(bytes.unwrap_or_default());
        };
        part(Some(before));
        part(Some(&self.seq.to_be_bytes()));
        part(Some(&self.entry.at.to_be_bytes()));
        part(self.entry.incident.as_deref().map(str::as_bytes));
        part(Some(self.entry.kind.as_bytes()));
        part(Some(self.entry.text.as_bytes()));
        part(self.incident.as_ref().map(<[u8; 32]>::as_slice));
        part(self.standing.as_ref().map(<[u8; 32]>::as_slice));
        part(Some(self.writer.as_bytes()));
        part(Some(&self.epoch.to_be_bytes()));
        finish(context)
    }
}

pub(super) fn known(bytes: &[u8]) -> Result<Hash, Fault> {
    Hash::try_from(bytes).map_err(|_| Fault::corrupt("the journal holds a hash that is none"))
}

/// The last row's number and hash.
pub(super) async fn head(tx: &mut SqliteConnection) -> Result<(u64, Hash), Fault> {
    let row = sqlx::query("SELECT head_seq, head_hash FROM chain").fetch_one(tx).await?;
    Ok((unsigned(row.try_get("head_seq")?), known(row.try_get("head_hash")?)?))
}

pub(super) async fn set_head(
    tx: &mut SqliteConnection,
    seq: u64,
    hash: &Hash,
) -> Result<(), Fault> {
    let set = sqlx::query("UPDATE chain SET head_seq = ?, head_hash = ?");
    set.bind(signed(seq)).bind(hash.as_slice()).execute(tx).await?;
    Ok(())
}

/// Writes a row; gives its hash.
pub(super) async fn append(
    tx: &mut SqliteConnection,
    link: &Link<'_>,
    before: &Hash,
) -> Result<Hash, Fault> {
    let hash = link.hash(before);
    let slice = |hash: &Option<Hash>| hash.map(|hash| hash.to_vec());
    sqlx::query("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(signed(link.seq))
        .bind(signed(link.entry.at))
        .bind(&link.entry.incident)
        .bind(&link.entry.kind)
        .bind(&link.entry.text)
        .bind(slice(&link.incident))
        .bind(slice(&link.standing))
        .bind(link.writer)
        .bind(signed(link.epoch))
        .bind(hash.as_slice())
        .execute(tx)
        .await?;
    Ok(hash)
}

/// Deletes rows up to `upto`; the chain begins behind it then. Gives how many there were.
pub(super) async fn cut(tx: &mut SqliteConnection, upto: u64) -> Result<u64, Fault> {
    let hash = sqlx::query_scalar("SELECT hash FROM row WHERE seq = ?").bind(signed(upto));
    let hash: Option<Vec<u8>> = hash.fetch_optional(&mut *tx).await?;
    let Some(hash) = hash else { return Ok(0) };
    let base = sqlx::query("UPDATE chain SET base_seq = ?, base_hash = ?");
    base.bind(signed(upto)).bind(hash).execute(&mut *tx).await?;
    let gone = sqlx::query("DELETE FROM row WHERE seq <= ?").bind(signed(upto));
    Ok(gone.execute(tx).await?.rows_affected())
}

impl Chain {
    pub(super) fn new(rows: u64, head: u64, hash: &Hash, pruned: u64) -> Self {
        Self { rows, head, hash: hex(hash), pruned }
    }
}
