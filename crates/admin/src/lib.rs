//! The admin API: what operators, dashboards and the command line see and order.
//!
//! ```text
//!   evenkeel status ──► client ──HTTP──► serve ─► guard ─► api ─┬─► Source   (reads)
//!   Prometheus, probes ─────────────────►  bounds   token,      ├─► EventLog (follows)
//!                                                   host        └─► Control  (orders)
//! ```
//!
//! It reads atomics and passes orders on; it decides nothing. The request path does not
//! need it: when it is dead, serving goes on. What it is given (`Source`, `Control`) are
//! ports, so it imports none of the parts it shows.

mod answers;
mod api;
mod binary;
pub mod client;
mod error;
mod expose;
mod guard;
mod metrics;
mod ports;
mod process;
mod serve;
mod snapshot;
mod stream;
pub mod view;
mod window;

pub use api::openapi::document as openapi;
pub use client::{AdminClient, ClientError};
pub use expose::check_exposure;
pub use ports::{
    AdminState, Alerting, Control, ControlError, ControlFuture, Follow, Healing, HealingFuture,
    Held, Source,
};
pub use serve::serve;
