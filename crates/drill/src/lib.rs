//! Proving: drive load at a service, put faults in its way, and say what a client saw.
//!
//! ```text
//!   load ──► [ fault proxy ] ──► service under test
//!     │             ▲
//!     ▼             └── set, clear
//!   report
//! ```
//!
//! The two halves know nothing of each other: a drill sets them side by side.

pub mod fault;
pub mod load;
