//! The port through which a replica is reached.

use crate::detour::Via;
use crate::outcome::NetworkFault;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An open connection to a replica.
pub struct Connection {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// Whether ALPN agreed on HTTP/2.
    pub h2: bool,
}

/// Why no connection came about.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct DialError {
    /// Its kind, as attempts count it.
    pub fault: NetworkFault,
    /// For people: the address and what the system said.
    pub text: String,
}

/// The future of [`Dial::dial`].
pub type Dialing<'a> = Pin<Box<dyn Future<Output = Result<Connection, DialError>> + Send + 'a>>;

/// Opens connections to one replica: TCP, or TLS with that replica's own trust.
/// Implemented by the `wire` crate; tests put an in-process network here.
pub trait Dial: Send + Sync + fmt::Debug {
    /// One new connection. Has no deadline of its own: the caller drops the future.
    fn dial(&self) -> Dialing<'_>;

    /// Where connections go instead of straight to it, if anywhere.
    fn via(&self) -> Option<Arc<Via>> {
        None
    }

    /// Rises whenever that changes, for who keeps connections.
    fn turns(&self) -> u32 {
        0
    }
}
