//! Work that must outlive the process: files, batches, and the ports to what keeps them.
//!
//! ```text
//!   client ─► HTTP API ─┬─► FileStore   content in pieces, whole or not at all
//!                       └─► BatchStore  what was ordered, how far it has come
//!                                ▲
//!             runner ─► WorkStore    one holder at a time; each answer once
//! ```
//!
//! A batch names a file of lines; each line is one request. **The file is the queue**: a
//! line is known by its index in it, so nothing is written per line until it is answered.
//! An answer is kept at most once per line, whatever is executed how often; a writer whose
//! lease has gone to another is refused ([`StoreError::Fenced`]).
//!
//! All times are milliseconds since the Unix epoch and are passed in.

mod batch;
mod error;
mod file;
#[cfg(feature = "testing")]
pub mod memory;
mod port;
#[cfg(feature = "testing")]
pub mod suite;

pub use batch::{
    Answer, Batch, BatchId, BatchStatus, Counts, End, Finish, InputError, LineResult, NewBatch,
    Times, Tokens,
};
pub use error::{Limit, StoreError};
pub use file::{File, FileAbout, FileId, FileQuery, OWNER_HEADER, Owner, PIECE, Page};
pub use port::{
    BatchStore, Fence, FileStore, Limits, Millis, StoreFuture, Sweep, Swept, Used, WorkStore,
};
