//! What must survive a restart, in one SQLite file.
//!
//! ```text
//!   FileStore, BatchStore, WorkStore   (ports of the domain)
//!            │
//!         ┌──▼───┐  one writer: a transaction is on disk before its call is answered
//!         │Store │  several readers: they never wait for the writer, nor it for them
//!         └──┬───┘
//!       seal │ content and answers, when there is a key
//!            ▼
//!        evenkeel.db, -wal, -shm
//! ```
//!
//! **Durable**: write-ahead log with `synchronous = FULL`, so every commit ends with an
//! fsync. **Whole**: a change is one transaction. **Fenced**: whoever executes batches
//! holds a lease with an epoch, which each of its transactions checks. **Sealed**: content
//! of files and bodies of answers, not names, counts, times and metadata.
//!
//! Recovery's journal (`JournalFile`), the account (`SloFile`) and alerts (`AlertFile`) are files of
//! their own in the same manner: large batches do not hold them up, and a store that is full or
//! broken does not stop healing.
//!
//! The files belong on a local disk: SQLite's locks do not hold on network file systems.

mod alert;
mod batches;
mod error;
mod files;
mod journal;
mod key;
mod lease;
mod open;
mod rows;
mod seal;
mod slo;
mod sweep;
mod tx;
mod work;

pub use alert::AlertFile;
pub use error::OpenError;
pub use journal::{Chain, JournalFile, Tampered, verify};
pub use key::{Key, KeyError};
pub use open::{Options, Store};
pub use slo::SloFile;
