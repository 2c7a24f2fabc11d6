//! Heal: what is done about a replica that does not serve.
//!
//! ```text
//!   World ──► plan (pure) ──► Journal ──► action ──► Hands, scripts, webhooks
//!     ▲       table, limits    fsync       one file each        │
//!     └───────────────── the world shows what came of it ◄──────┘
//! ```
//!
//! Nothing is done that is not written down before, and its result is written down after;
//! so a process that dies at any point is followed by one that goes on there. The plan reads
//! the world, never an action's own word, to say whether something has helped.

pub mod action;
pub mod plan;
pub mod quiet;
pub mod runner;
pub mod scale;
pub mod standby;

pub use plan::{Book, Order, Preview, Refusal};
pub use runner::{Board, Handle, OrderError, Parts, Told, View, spawn};
