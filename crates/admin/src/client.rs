//! The other end: what the command line speaks with.

mod alerts;
mod recovery;

use crate::view::{
    ClockBody, DegradeBody, DetourBody, ErrorBody, OrderBody, ScaleBody, SloView, Snapshot,
    UpgradeBody,
};
use bytes::Bytes;
use evenkeel_domain::event::Event;
use evenkeel_domain::job::JobOrder;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::transport::{Connection, Dial};
use evenkeel_domain::{Endpoint, NetworkFault};
use evenkeel_wire::client::ConnectionGuard;
use evenkeel_wire::{TcpDialer, TlsDialer, tls};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take: the server is near.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take: a little longer than the server gives itself.
const ANSWER: Duration = Duration::from_secs(65);
/// Bytes of an answer: a snapshot of thousands of replicas fits in.
const LARGEST: usize = 64 << 20;

/// Why the server could not be asked or said no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("nobody answers at {address}: is `evenkeel up` running? set --admin ({why})")]
    Nobody {
        /// Where.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The server refused, and says why.
    #[error("{message} ({remedy})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// One word for programs.
        code: String,
        /// What is wrong.
        message: String,
        /// What helps.
        remedy: String,
    },
    /// Something answers there that is not this API, or it broke off.
    #[error("the answer of {address} cannot be used: {why}; is it the admin API of Evenkeel?")]
    Broken {
        /// Where.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The address, token or CA given is not usable.
    #[error("{0}")]
    Setting(String),
}

/// An order about one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaOrder {
    /// Nothing new; what runs may finish.
    Drain,
    /// Ends an operator's order.
    Undrain,
    /// Out at once.
    Isolate,
    /// Stop and start it.
    Restart,
    /// A standby takes over.
    Promote,
    /// A standby goes back.
    Demote,
}

impl ReplicaOrder {
    /// Its word in the API's path.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Isolate => "isolate",
            Self::Restart => "restart",
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }
}

/// A client of one server. Each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct AdminClient {
    endpoint: Endpoint,
    dial: Arc<dyn Dial>,
    token: Option<Secret>,
}

impl AdminClient {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:9900`; the scheme
    /// may be left out. `ca` is trusted instead of the system's authorities.
    ///
    /// # Errors
    /// When the URL or the CA cannot be read, or a token would travel unencrypted beyond
    /// this machine.
    pub fn new(
        base_url: &str,
        token: Option<Secret>,
        ca: Option<PathBuf>,
    ) -> Result<Self, ClientError> {
        let full = if base_url.contains("://") {
            base_url.to_owned()
        } else {
            format!("http://{base_url}")
        };
        let bad = |why: String| ClientError::Setting(why);
        let endpoint: Endpoint =
            full.parse().map_err(|_| bad(format!("--admin: `{base_url}` is no URL")))?;
        if token.is_some() && !endpoint.tls && !is_near(&endpoint) {
            return Err(bad(format!(
                "a token is not sent to {} unencrypted: use https://",
                endpoint.authority
            )));
        }
        let dial: Arc<dyn Dial> = if endpoint.tls {
            let files = tls::ClientFiles { ca, identity: None };
            let config = tls::client(&files, false).map_err(|e| bad(e.to_string()))?;
            let tls = TlsDialer::new(&endpoint, &endpoint.host, config)
                .map_err(|e| bad(format!("--admin: {}: {e}", endpoint.host)))?;
            Arc::new(tls)
        } else {
            Arc::new(TcpDialer::new(&endpoint))
        };
        Ok(Self { endpoint, dial, token })
    }

    /// Everything at this moment.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all methods.
    pub async fn snapshot(&self) -> Result<Snapshot, ClientError> {
        self.get("/api/v1/snapshot").await
    }

    /// Events after the cursor that the server still has.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, after: u64) -> Result<Vec<Event>, ClientError> {
        self.get(&format!("/api/v1/events?after={after}")).await
    }

    /// What services promised and kept.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn slo(&self) -> Result<SloView, ClientError> {
        self.get("/api/v1/slo").await
    }

    /// Gives an order about a replica; `lasts` is for `Drain` and `Isolate` only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn replica_order(
        &self,
        order: ReplicaOrder,
        replica: &str,
        owner: &str,
        lasts: Option<Duration>,
    ) -> Result<(), ClientError> {
        let lasts = lasts.map(|time| humantime::format_duration(time).to_string());
        let body = OrderBody { owner: owner.to_owned(), lasts };
        self.post(&format!("/api/v1/replicas/{}/{}", segment(replica), order.verb()), &body).await
    }

    /// Restarts the supervised replicas of a service, one after another.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn restart_service(&self, service: &str) -> Result<(), ClientError> {
        self.post(&format!("/api/v1/services/{}/restart", segment(service)), &()).await
    }

    /// Has a service do less (0 to 6), or leaves that to what is measured.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn degrade(
        &self,
        service: &str,
        level: Option<u8>,
        owner: &str,
        lasts: Option<Duration>,
    ) -> Result<(), ClientError> {
        let lasts = lasts.map(|time| humantime::format_duration(time).to_string());
        let body = DegradeBody { level, owner: owner.to_owned(), lasts };
        self.post(&format!("/api/v1/services/{}/degrade", segment(service)), &body).await
    }

    /// Has so many copies of a scaled service run, or leaves that to what is measured.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn scale(
        &self,
        service: &str,
        copies: Option<u32>,
        owner: &str,
        lasts: Option<Duration>,
    ) -> Result<(), ClientError> {
        let lasts = lasts.map(|time| humantime::format_duration(time).to_string());
        let body = ScaleBody { copies, owner: owner.to_owned(), lasts };
        self.post(&format!("/api/v1/services/{}/scale", segment(service)), &body).await
    }

    /// Starts a job (again), or stops it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn job(&self, name: &str, order: JobOrder) -> Result<(), ClientError> {
        let verb = match order {
            JobOrder::Restart => "restart",
            JobOrder::Stop => "stop",
        };
        self.post(&format!("/api/v1/jobs/{}/{verb}", segment(name)), &()).await
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// See [`ClientError`]; a refused configuration is `Refused` with its reason.
    pub async fn reload(&self) -> Result<(), ClientError> {
        self.post("/api/v1/reload", &()).await
    }

    /// Replaces the running program.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upgrade(&self, binary: Option<PathBuf>) -> Result<(), ClientError> {
        let binary = binary.map(|path| path.to_string_lossy().into_owned());
        self.post("/api/v1/upgrade", &UpgradeBody { binary }).await
    }

    /// Drains and ends everything.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self) -> Result<(), ClientError> {
        self.post("/api/v1/stop", &()).await
    }

    /// The last `lines` lines of a replica's output; with `follow`, also those to come.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(
        &self,
        replica: &str,
        lines: usize,
        follow: bool,
    ) -> Result<LogStream, ClientError> {
        let path = format!("/api/v1/logs/{}?lines={lines}&follow={follow}", segment(replica));
        let (response, guard) = self.send(Method::GET, &path, Bytes::new()).await?;
        let address = self.endpoint.authority.to_string();
        Ok(LogStream { body: response.into_body(), address, _guard: guard })
    }

    /// Leads connections to a replica to another address for as long as what is given back
    /// is kept; it ends when the gateway has ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn detour(&self, replica: &str, body: &DetourBody) -> Result<LogStream, ClientError> {
        self.hold(&format!("/api/v1/replicas/{}/detour", segment(replica)), body).await
    }

    /// Puts the gateway's wall clock ahead or behind for as long as what is given back is
    /// kept.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clock(&self, body: &ClockBody) -> Result<LogStream, ClientError> {
        self.hold("/api/v1/clock", body).await
    }

    async fn hold<T: Serialize>(&self, path: &str, body: &T) -> Result<LogStream, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.broken(e))?;
        let (response, guard) = self.send(Method::POST, path, body.into()).await?;
        let address = self.endpoint.authority.to_string();
        Ok(LogStream { body: response.into_body(), address, _guard: guard })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (response, _guard) = self.send(Method::GET, path, Bytes::new()).await?;
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|e| self.broken(e))
    }

    async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.broken(e))?;
        // `()` is `null`: these orders have no body.
        let body = if body == b"null" { Bytes::new() } else { body.into() };
        let (response, _guard) = self.send(Method::POST, path, body).await?;
        self.read(response).await.map(drop)
    }

    /// Posts, and gives what is answered.
    async fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.broken(e))?;
        let (response, _guard) = self.send(Method::POST, path, body.into()).await?;
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|e| self.broken(e))
    }

    /// Sends a request; an answer that is no success is an error with its reason.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, ConnectionGuard), ClientError> {
        let connection = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint.prefix))
            .header(header::HOST, &*self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| ClientError::Setting("the token or a name holds bad characters".into()))?;
        let answer = evenkeel_wire::client::open(connection, false, request);
        let (response, guard) = tokio::time::timeout(ANSWER, answer)
            .await
            .map_err(|_| self.broken("none came in time"))?
            .map_err(|e| self.broken(e))?;
        if response.status().is_success() {
            return Ok((response, guard));
        }
        let status = response.status();
        Err(self.refusal(status, &self.read(response).await?))
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let address = self.endpoint.authority.to_string();
        match tokio::time::timeout(CONNECT, self.dial.dial()).await {
            Ok(Ok(connection)) => Ok(connection),
            // The host is there, but what it says is not for us: a wrong CA, plain HTTP.
            Ok(Err(error)) if self.endpoint.tls && error.fault == NetworkFault::Unreachable => {
                Err(ClientError::Broken { address, why: error.text })
            }
            Ok(Err(error)) => Err(ClientError::Nobody { address, why: error.text }),
            Err(_) => Err(ClientError::Nobody { address, why: "no answer within 5 s".into() }),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = http_body_util::Limited::new(response.into_body(), LARGEST).collect();
        let body = tokio::time::timeout(ANSWER, body)
            .await
            .map_err(|_| self.broken("it did not end in time"))?
            .map_err(|e| self.broken(e))?;
        Ok(body.to_bytes())
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => ClientError::Refused {
                status: status.as_u16(),
                code: error.code,
                message: error.message,
                remedy: error.remedy,
            },
            Err(_) => self.broken(format!("status {status}")),
        }
    }

    fn broken(&self, why: impl ToString) -> ClientError {
        ClientError::Broken { address: self.endpoint.authority.to_string(), why: why.to_string() }
    }
}

fn is_near(endpoint: &Endpoint) -> bool {
    endpoint.host.eq_ignore_ascii_case("localhost")
        || endpoint.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A log as it comes.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    address: String,
    _guard: ConnectionGuard,
}

impl LogStream {
    /// The next piece, not cut at lines; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the server breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let broken = |why: String| ClientError::Broken { address: self.address.clone(), why };
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_travel_in_clear() {
        let token = || Some(Secret::new("t".into()));
        assert!(AdminClient::new("127.0.0.1:9900", token(), None).is_ok());
        assert!(AdminClient::new("http://localhost:9900", token(), None).is_ok());
        assert!(AdminClient::new("http://10.0.0.1:9900", None, None).is_ok());
        let refused = AdminClient::new("http://10.0.0.1:9900", token(), None).unwrap_err();
        assert!(refused.to_string().contains("https://"), "{refused}");
        assert!(AdminClient::new("ftp://x", None, None).is_err());
    }

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("chat-1"), "chat-1");
        assert_eq!(segment("a/../b?c"), "a%2F..%2Fb%3Fc");
    }
}
