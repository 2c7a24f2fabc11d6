//! What every part that talks over a network needs: opening connections, TLS, a small
//! HTTP client and a reader for server-sent events.
//!
//! It sits between `domain` and the parts (gateway, health, drill, app), so that none of
//! them has to import a sibling to reach a replica. It holds no policy: no retries, no
//! deadlines, no idea of health.

pub mod client;
pub mod dial;
pub mod sse;
pub mod tls;
pub mod within;

pub use dial::{TcpDialer, TlsDialer};
