//! TCP and TLS connections to one place.

use evenkeel_domain::Endpoint;
use evenkeel_domain::detour::{Detour, Via};
use evenkeel_domain::outcome::NetworkFault;
use evenkeel_domain::transport::{Connection, Dial, DialError, Dialing};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Plain TCP to a host and port.
#[derive(Debug, Clone)]
pub struct TcpDialer {
    host: Box<str>,
    port: u16,
    way: Arc<Detour>,
}

impl TcpDialer {
    /// To this endpoint; names are resolved at each connection.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { host: endpoint.host.clone(), port: endpoint.port, way: Arc::default() }
    }

    /// By this way.
    #[must_use]
    pub fn by(self, way: Arc<Detour>) -> Self {
        Self { way, ..self }
    }

    async fn tcp(&self) -> Result<TcpStream, DialError> {
        let stream = match self.way.via() {
            Some(via) => TcpStream::connect(via.to).await,
            None => TcpStream::connect((&*self.host, self.port)).await,
        };
        let stream = stream.map_err(|e| DialError {
            fault: fault_of(&e),
            text: format!("connecting to {}:{}: {e}", self.host, self.port),
        })?;
        // Nagle's algorithm with delayed acknowledgements costs 40 ms an exchange.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

fn fault_of(error: &io::Error) -> NetworkFault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetworkFault::Refused,
        io::ErrorKind::TimedOut => NetworkFault::ConnectTimeout,
        io::ErrorKind::ConnectionReset => NetworkFault::Reset,
        _ => NetworkFault::Unreachable,
    }
}

impl Dial for TcpDialer {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            let io = self.tcp().await?;
            Ok(Connection { io: Box::new(io), h2: false })
        })
    }

    fn via(&self) -> Option<Arc<Via>> {
        self.way.via()
    }

    fn turns(&self) -> u32 {
        self.way.turns()
    }
}

/// TLS over TCP.
pub struct TlsDialer {
    tcp: TcpDialer,
    name: ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for TlsDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsDialer").field("tcp", &self.tcp).field("name", &self.name).finish()
    }
}

impl TlsDialer {
    /// To this endpoint, whose certificate must be valid for `server_name`.
    ///
    /// # Errors
    /// When `server_name` is neither a DNS name nor an address.
    pub fn new(
        endpoint: &Endpoint,
        server_name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<Self, rustls::pki_types::InvalidDnsNameError> {
        let name = ServerName::try_from(server_name)?.to_owned();
        Ok(Self { tcp: TcpDialer::new(endpoint), name, config })
    }

    /// By this way; whoever is there must have the certificate all the same.
    #[must_use]
    pub fn by(self, way: Arc<Detour>) -> Self {
        Self { tcp: self.tcp.by(way), ..self }
    }
}

impl Dial for TlsDialer {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            let tcp = self.tcp.tcp().await?;
            let connector = TlsConnector::from(self.config.clone());
            let io = connector.connect(self.name.clone(), tcp).await.map_err(|e| DialError {
                fault: NetworkFault::Unreachable,
                text: format!("TLS to {}:{}: {e}", self.tcp.host, self.tcp.port),
            })?;
            let h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Connection { io: Box::new(io), h2 })
        })
    }

    fn via(&self) -> Option<Arc<Via>> {
        self.tcp.via()
    }

    fn turns(&self) -> u32 {
        self.tcp.turns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_without_a_listener_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let Err(error) = TcpDialer::new(&Endpoint::loopback(port)).dial().await else {
            panic!("nobody listens there")
        };
        assert_eq!(error.fault, NetworkFault::Refused);
        assert!(error.text.contains(&port.to_string()));
    }

    #[tokio::test]
    async fn a_way_that_is_held_is_taken_until_it_is_let_go() {
        let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::loopback(closed.local_addr().unwrap().port());
        drop(closed);
        let way = Arc::new(Detour::default());
        let dialer = TcpDialer::new(&endpoint).by(way.clone());
        let lease = way.hold(elsewhere.local_addr().unwrap(), "drill", "cut").unwrap();
        assert!(dialer.dial().await.is_ok());
        assert_eq!(dialer.via().map(|via| via.owner.clone()).as_deref(), Some("drill"));
        drop(lease);
        assert!(dialer.dial().await.is_err());
        assert_eq!(dialer.turns(), 2);
    }
}
