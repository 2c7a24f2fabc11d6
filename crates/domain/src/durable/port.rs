//! The ports. An implementation runs [`suite`](super::suite), which says in tests what is
//! said here in words.

use super::{
    Answer, Batch, BatchId, BatchStatus, File, FileAbout, FileId, FileQuery, Finish, InputError,
    NewBatch, Owner, Page, StoreError,
};
use std::future::Future;
use std::pin::Pin;

/// Milliseconds since the Unix epoch, or a span of milliseconds.
pub type Millis = u64;

/// What a method of a store answers with. Once a change is answered with `Ok` it survives
/// the loss of power.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// How much a store takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all content together. Answers to what was taken in may use as much again:
    /// refusing them would break what was promised.
    pub max_bytes: u64,
    /// Files, those being uploaded included; output files are made beyond it.
    pub max_files: u64,
    /// Batches that have not ended.
    pub max_open_batches: u64,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of files and answers.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Batches that have not ended.
    pub open_batches: u64,
    /// Batches by status, in the order of [`BatchStatus::ALL`].
    pub batches: [u64; BatchStatus::ALL.len()],
}

/// The right to execute batches, held by one process at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Who holds it.
    pub holder: String,
    /// Rises with every change of hands: what an older one still writes is refused.
    pub epoch: u64,
}

/// What is to be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Uploads that were not added to since then are given up.
    pub uploads_before: Millis,
    /// Batches that were over before then are forgotten.
    pub batches_before: Millis,
    /// At most so many rows are deleted.
    pub rows: u32,
}

/// What was cleaned up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows that were deleted, of whatever kind.
    pub rows: u32,
    /// Whether there is more to do.
    pub more: bool,
}

/// Keeps files.
///
/// A file is begun, added to and committed; before that nobody sees it, after that it never
/// changes. What one owner has, another cannot find.
pub trait FileStore: Send + Sync {
    /// Begins a file. With a `fence` it is the output of a batch: made beyond the limits,
    /// and given up at once when the lease goes to another.
    fn begin_file<'a>(
        &'a self,
        owner: &'a Owner,
        fence: Option<&'a Fence>,
        now: Millis,
    ) -> StoreFuture<'a, FileId>;

    /// Adds content at `offset`, which is how much there is. Every part but the last is a
    /// multiple of [`PIECE`](super::PIECE) bytes.
    fn append_file<'a>(
        &'a self,
        id: &'a FileId,
        offset: u64,
        data: &'a [u8],
        now: Millis,
    ) -> StoreFuture<'a, ()>;

    /// Makes a file of what was added.
    fn commit_file<'a>(
        &'a self,
        id: &'a FileId,
        about: &'a FileAbout,
        now: Millis,
    ) -> StoreFuture<'a, File>;

    /// Gives up what was begun; nothing if it was committed or is not known.
    fn abandon_file<'a>(&'a self, id: &'a FileId) -> StoreFuture<'a, ()>;

    /// A file of an owner. One that has expired is not found.
    fn file<'a>(&'a self, owner: &'a Owner, id: &'a FileId, now: Millis) -> StoreFuture<'a, File>;

    /// Files of an owner.
    fn files<'a>(
        &'a self,
        owner: &'a Owner,
        query: &'a FileQuery,
        now: Millis,
    ) -> StoreFuture<'a, Page<File>>;

    /// Content from `offset` on, at most `max` bytes and perhaps less; empty only at the
    /// end. It does not ask whose file it is, and goes on reading one that was deleted while
    /// an open batch needs it.
    fn read_file<'a>(&'a self, id: &'a FileId, offset: u64, max: usize)
    -> StoreFuture<'a, Vec<u8>>;

    /// Deletes a file of an owner. Its content stays while an open batch needs it.
    fn delete_file<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a FileId,
        now: Millis,
    ) -> StoreFuture<'a, ()>;
}

/// Work in the hands of whoever holds the lease. Every change but taking the lease is
/// refused with [`StoreError::Fenced`] once another holds it.
pub trait WorkStore: Send + Sync {
    /// Takes the lease for `ttl` if nobody holds it or it has run out; `None` otherwise.
    /// Each success has a new epoch. One that ends later than twice `ttl` from now is none:
    /// the clock was set back, and its holder may be long dead.
    fn acquire<'a>(
        &'a self,
        holder: &'a str,
        ttl: Millis,
        now: Millis,
    ) -> StoreFuture<'a, Option<Fence>>;

    /// Keeps the lease for `ttl` from now.
    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Millis, now: Millis) -> StoreFuture<'a, ()>;

    /// Gives the lease back.
    fn release<'a>(&'a self, fence: &'a Fence) -> StoreFuture<'a, ()>;

    /// Batches that have not ended, oldest first: at most `max_open_batches`.
    fn open_batches(&self) -> StoreFuture<'_, Vec<Batch>>;

    /// `validating` → `in_progress`.
    fn start_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        total: u32,
        model: Option<&'a str>,
        now: Millis,
    ) -> StoreFuture<'a, ()>;

    /// `validating` → `failed`.
    fn fail_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        errors: &'a [InputError],
        now: Millis,
    ) -> StoreFuture<'a, ()>;

    /// Keeps answers, all or none, to lines that have none yet; a second answer to a line
    /// is dropped. Answers with how many were kept.
    ///
    /// [`StoreError::Full`] when the store holds twice its limit of bytes.
    fn record<'a>(
        &'a self,
        fence: &'a Fence,
        answers: &'a [(BatchId, Answer)],
    ) -> StoreFuture<'a, u32>;

    /// The lines of a batch that have an answer, ascending.
    fn answered<'a>(&'a self, id: &'a BatchId) -> StoreFuture<'a, Vec<u32>>;

    /// Answers of a batch from line `from` on, ascending: one at least if there is one, and
    /// no more once `max_bytes` are reached.
    fn answers<'a>(
        &'a self,
        id: &'a BatchId,
        from: u32,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Answer>>;

    /// `in_progress` → `finalizing`.
    fn finalize_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, ()>;

    /// `finalizing` → `completed` or `expired`, or `cancelling` → `cancelled`; its files
    /// appear in the same instant.
    fn finish_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        finish: &'a Finish,
        now: Millis,
    ) -> StoreFuture<'a, ()>;

    /// Cleans up what nobody needs: files that were deleted, have expired or were given up,
    /// answers of batches that are over, batches that were over long ago.
    fn sweep<'a>(&'a self, fence: &'a Fence, what: Sweep, now: Millis) -> StoreFuture<'a, Swept>;
}

/// Keeps batches.
pub trait BatchStore: FileStore + WorkStore {
    /// Makes a batch. Its input must be a file of the same owner with purpose `batch`:
    /// [`StoreError::NotFound`] otherwise.
    fn create_batch<'a>(&'a self, order: &'a NewBatch) -> StoreFuture<'a, Batch>;

    /// A batch of an owner.
    fn batch<'a>(&'a self, owner: &'a Owner, id: &'a BatchId) -> StoreFuture<'a, Batch>;

    /// Batches of an owner, newest first, from behind `after`.
    fn batches<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<&'a BatchId>,
        limit: usize,
    ) -> StoreFuture<'a, Page<Batch>>;

    /// `validating` or `in_progress` → `cancelling`; nothing if it is that already.
    fn cancel_batch<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, Batch>;

    /// How much is held.
    fn used(&self) -> StoreFuture<'_, Used>;
}
