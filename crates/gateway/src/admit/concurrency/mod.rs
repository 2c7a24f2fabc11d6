//! How much each replica can start, found while it works.
//!
//! ```text
//!   attempts ── times to first token ─► Room ─► ticker ─► Controller ─► limit
//!   probe ───── the replica's own queue ──┘      10 Hz       pure        │
//!   pick ◄── has it room? ──────────────────────────────────────────────┘
//! ```
//! What a replica tells of its own queue decides. Without that the time to first token does,
//! as in Gradient2 (Netflix, concurrency-limits): when it is well above what it is without
//! a queue, there is one. How much the replica then really works on follows from Little's
//! law, and that is the limit.

mod control;
mod seen;
#[cfg(test)]
mod simulation;
mod ticker;
mod times;
mod work;

pub(crate) use ticker::run;
pub(crate) use work::Work;
