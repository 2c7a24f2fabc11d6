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
mod answers;
mod attempt;
mod background;
pub mod balance;
mod body;
mod cache;
mod cors;
pub mod degrade;
mod error;
mod exchange;
mod fallback;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod headers;
mod listen;
mod models;

mod owner;
mod quorum;
mod render;
mod resume;
pub mod route;
mod routed;
mod sent;
pub mod settings;
mod shared;
mod template;
pub mod trace;
mod upgrade;
mod upstream;
mod usage;
mod within;
pub mod worker;

pub use admit::keys;
pub use listen::Listener;
pub use route::{BadTable, RouteRule, Table};
pub use settings::GatewaySettings;
pub use shared::Shared;
pub use within::Within;
