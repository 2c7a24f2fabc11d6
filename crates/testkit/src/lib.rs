//! For tests of the other crates only: replicas that misbehave on request, a client that
//! knows the right answer, processes that do not outlive their test.
//!
//! ```text
//!   Oracle ──► what is tested ──► Replica (scripted)
//!     │                              │
//!     └── right? whole? how late? ◄──┴── begun, finished, cancelled: when?
//! ```
//!
//! Helpers panic where a test should fail; nothing here is linked into the product.

pub mod answer;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod replica;

pub use evenkeel_drill::fault::FaultProxy;
pub use oracle::{Oracle, Seen, Verdict};
pub use process::Process;
pub use replica::{Behaviour, Break, Counts, Ended, Replica, Request};
pub use tempfile::TempDir;

/// An empty directory that goes away with its value.
///
/// # Panics
/// When none can be made.
#[must_use]
pub fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}
