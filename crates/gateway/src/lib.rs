//! Serve: from a client's connection to the answer of a replica that works.
//!
//! ```text
//! listen ─► handle (read, route) ─► exchange (pick, attempt, race, retry, hold) ─► relay
//!  worker      body, route             balance, attempt, upstream                 body
//! ```
//! One thread per core, each with its own runtime, listeners and connections; between
//! them only atomics ([`Shared`]). Health is read here and decided elsewhere: outcomes go
//! out as signals, states come back as gates on the replicas.

pub mod access_log;
mod admit;
mod attempt;
pub mod balance;
mod body;
mod cors;
mod error;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod headers;
mod listen;
mod models;
mod resume;
pub mod route;
pub mod settings;
mod shared;
mod template;
pub mod trace;
mod upgrade;
mod upstream;
mod usage;
pub mod worker;

pub use listen::Listener;
pub use route::{BadTable, RouteRule, Table};
pub use settings::GatewaySettings;
pub use shared::Shared;
