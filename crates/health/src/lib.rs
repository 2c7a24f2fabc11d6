//! Detect: what is wrong with a replica, from signals to one state.
//!
//! ```text
//! probes ───┐                    ┌─ detector ─┐
//! attempts ─┼─ signals ─► record ┼─ detector ─┼─ verdicts ─► fusion ─► state ─► gate
//! keeper ───┘                    └─ detector ─┘
//! ```
//! Probes do I/O and judge nothing; detectors and fusion judge and do no I/O and read no
//! clock. The [`authority`] is the only writer of a replica's state.

pub mod anomaly;
pub mod authority;
pub mod check;
pub mod detector;
pub mod fusion;
pub mod operator;
pub mod probe;

pub use authority::{Authority, AuthorityHandle};
