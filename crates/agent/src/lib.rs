//! Replicas on other hosts: both ends of the connection between a keeper and an agent.
//!
//! ```text
//!   keeper ── Remote ═══ orders ═══► serve ── Host ── the node's own supervisor
//!     │         ▲ ◄═══ statuses ════   │
//!     └─ Watch ═╪════ beats, acks ════►│ ═══ beats ═══ other nodes
//!   gateway ── log ═══ lines ═════════►┘         (═ TLS 1.3, certificates on both sides)
//! ```
//!
//! - [`identity`] makes and reads the certificates.
//! - [`serve`] is the node's end; it runs what [`Host`] gives it, which `app` wires.
//! - [`Remote`] is the keeper's: an orchestrator like the local one.
//! - [`beat`] tells whether the other end is there.

pub mod beat;
mod connect;
mod frame;
mod host;
pub mod identity;
pub mod log;
mod remote;
pub mod serve;
mod words;

pub use host::{Follow, Host};
pub use identity::{Authority, Bundle, IdentityError, is_node_name};
pub use remote::{Link, Remote, RemoteSettings, Term, next_term};
