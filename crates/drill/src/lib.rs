//! Proving: drive load at a service, put faults in its way, and say what a client saw.
//!
//! ```text
//!   load ──► service under test ──► [ fault proxy ] ──► replica
//!     │            ▲ looks, events        ▲                ▲
//!     │            │                      │ set, clear     │ signals
//!     ▼            │                      │                │
//!   report ◄── run (plan: pure) ── injector ──► guard ─────┘
//! ```
//!
//! Load and faults know nothing of each other: a drill sets them side by side.

pub mod catalogue;
pub mod fault;
pub mod load;
pub mod plan;
pub mod report;
pub mod run;
