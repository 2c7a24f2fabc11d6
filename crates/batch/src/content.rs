//! Writing and reading files of the store in parts of a bounded size.

use evenkeel_domain::durable::{BatchStore, FileId, Millis, PIECE, StoreError};
use std::sync::Arc;

/// Bytes that are written at once: a transaction, and so an fsync, per MiB.
const WRITE: usize = 16 * PIECE;
/// Bytes that are read at once. Small: a runtime that answers clients may do it.
pub(crate) const READ: usize = 4 * PIECE;

/// Where the time comes from.
pub type Now = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Collects what is written until it is worth a transaction.
pub(crate) struct Writer<'a> {
    store: &'a dyn BatchStore,
    now: &'a Now,
    pub(crate) id: FileId,
    kept: u64,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes to a file that was begun and is empty.
    pub(crate) fn new(store: &'a dyn BatchStore, now: &'a Now, id: FileId) -> Self {
        Self { store, now, id, kept: 0, buffer: Vec::new() }
    }

    /// Bytes that were written.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept + self.buffer.len() as u64
    }

    pub(crate) async fn write(&mut self, mut data: &[u8]) -> Result<(), StoreError> {
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(WRITE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            data = later;
            if self.buffer.len() == WRITE {
                self.keep().await?;
            }
        }
        Ok(())
    }

    /// Writes what is left. Nothing may follow.
    pub(crate) async fn finish(mut self) -> Result<FileId, StoreError> {
        if !self.buffer.is_empty() {
            self.keep().await?;
        }
        Ok(self.id)
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.store.append_file(&self.id, self.kept, &self.buffer, (self.now)()).await?;
        self.kept += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads exactly `length` bytes at `offset`.
pub(crate) async fn read_exact(
    store: &dyn BatchStore,
    id: &FileId,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, StoreError> {
    let mut content = store.read_file(id, offset, length).await?;
    while content.len() < length {
        let at = offset + content.len() as u64;
        let part = store.read_file(id, at, length - content.len()).await?;
        if part.is_empty() {
            return Err(StoreError::Corrupt(format!("{id} is shorter than it was")));
        }
        content.extend(part);
    }
    Ok(content)
}
