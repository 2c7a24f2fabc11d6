//! A server per test, and requests written by hand where a header matters.

use crate::fake::Fake;
use evenkeel_admin::{AdminClient, AdminState};
use evenkeel_domain::replica::Secret;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server.
pub(crate) struct Running {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
    pub(crate) token: Option<&'static str>,
}

/// Starts one; `change` may change its state first.
pub(crate) async fn start_with(
    token: Option<&'static str>,
    change: impl FnOnce(&mut AdminState),
) -> Running {
    let fake = Fake::new();
    let mut state = fake.state(token);
    change(&mut state);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(evenkeel_admin::serve(state, vec![listener], None, async {
        let _ = stopped.await;
    }));
    Running { fake, address, stop, served, token }
}

pub(crate) async fn start() -> Running {
    start_with(None, |_| {}).await
}

/// Status and the rest, head included.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap()
    }
}

impl Running {
    pub(crate) fn client(&self) -> AdminClient {
        let token = self.token.map(|token| Secret::new(token.into()));
        AdminClient::new(&self.address.to_string(), token, None).unwrap()
    }

    /// Opens a connection and sends a request with these header lines.
    pub(crate) async fn open(&self, line: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host =
            if headers.to_ascii_lowercase().contains("host:") { "" } else { "host: localhost\r\n" };
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\n{host}{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.open(line, headers, body).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(&format!("POST {path}"), "", body).await
    }
}
