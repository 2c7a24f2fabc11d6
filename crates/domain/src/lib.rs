//! The words of Evenkeel as types, and the ports through which its crates meet.
//!
//! ```text
//!            Service ── settings (immutable per configuration)
//!               │
//!              Pool ── members, waiters, counters (live across reloads)
//!               │
//!            Replica ── identity (immutable) + Live (atomics)
//!                         ▲ written by: the health authority (state)
//!                         │             the gateway (counts, latency)
//!                         └ read by: every policy, retry, hedge, status page
//! ```
//!
//! Nothing here does I/O or spawns a task. Live state is atomics only, so that the
//! request path never waits for whoever watches it.

pub mod ability;
pub mod account;
pub mod alert;
pub mod answers;
pub mod check;
pub mod clock;
pub mod conduct;
pub mod detour;
pub mod durable;
pub mod endpoint;
pub mod event;
pub mod health;
pub mod histogram;
pub mod incident;
pub mod job;
pub mod node;
pub mod orchestrator;
pub mod outcome;
pub mod phi;
pub mod pool;
pub mod replica;
pub mod rng;
pub mod room;
mod secret;
pub mod settings;
pub mod slo;
pub mod standby;
pub mod transport;
mod watched;

pub use ability::{Abilities, Known};
pub use account::Account;
pub use conduct::Conduct;
pub use endpoint::Endpoint;
pub use health::{Gate, Health, Signal, SignalKind};
pub use outcome::{NetworkFault, Outcome, ReplicaFault};
pub use pool::{Pool, Service};
pub use replica::{Incarnation, Replica};
