//! Opening a connection to an agent: TCP, TLS, hello.

use crate::frame;
use crate::identity::tls;
use crate::words::{Greeting, Hello, VERSION, Wants};
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to connect to, and how to show oneself.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The node that must be there.
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) tls: Arc<ClientConfig>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// It may be there later.
    Failed(String),
    /// It is there and does not want us.
    Refused { why: String, epoch: u64 },
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Failed(why) | Self::Refused { why, .. }) = self;
        f.write_str(why)
    }
}

/// What an agent says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Welcome {
    pub(crate) life: u64,
    pub(crate) expires_unix_s: u64,
}

/// Opens a connection for a purpose; all of it `within`.
pub(crate) async fn connect(
    to: &Target,
    wants: Wants,
    within: Duration,
) -> Result<(TlsStream<TcpStream>, Welcome), ConnectError> {
    let opened = timeout(within, open(to, wants)).await.unwrap_or_else(|_| {
        let text =
            format!("no answer within {within:?}; is the host up, and is a firewall between?");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    });
    let address = &to.address;
    let (stream, greeting) = opened.map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{address}: nobody listens; start `evenkeel agent` there")
            }
            _ => format!("{address}: {error}"),
        };
        ConnectError::Failed(text)
    })?;
    match greeting {
        Greeting::Welcome { life, expires_unix_s } => {
            Ok((stream, Welcome { life, expires_unix_s }))
        }
        Greeting::Refused { why, epoch } => Err(ConnectError::Refused { why, epoch }),
    }
}

async fn open(to: &Target, wants: Wants) -> io::Result<(TlsStream<TcpStream>, Greeting)> {
    let name = tls::server_name(&to.node).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(&to.address).await?;
    tcp.set_nodelay(true)?;
    let mut stream = TlsConnector::from(to.tls.clone()).connect(name, tcp).await?;
    frame::send(&mut stream, &Hello { version: VERSION, wants }).await?;
    let greeting = frame::receive(&mut stream, Duration::from_secs(10)).await?;
    Ok((stream, greeting))
}
