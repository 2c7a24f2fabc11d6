//! The agent: takes connections of its authority's, and does what the keeper says.
//!
//! ```text
//!   accept ─► TLS ─► hello ─► command: session, under the fence
//!     64 at once  5 s  5 s  ├─► beat: acknowledged, and remembered
//!                           └─► log: lines
//! ```

mod allow;
mod fence;
mod keys;
mod logs;
mod orphan;
mod session;

use crate::beat::{self, Hearing};
use crate::connect::Target;
use crate::frame;
use crate::host::Host;
use crate::identity::{Bundle, tls};
use crate::words::{Greeting, Hello, VERSION, Wants};
use evenkeel_domain::clock;
use evenkeel_domain::node::Peer;
use fence::Fence;
use keys::Keys;
use orphan::Commanded;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A keeper, its logs and a few peers; what is more waits in the backlog.
const CONNECTIONS: usize = 64;
/// TLS, and then hello, must be over within.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Strangers are told of at most this often.
const STRANGERS: Duration = Duration::from_secs(1);

/// What an agent needs beside its bundle.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Where it remembers whom it obeys.
    pub state_dir: PathBuf,
    /// Programs that may be run; empty: any.
    pub allow: Vec<String>,
    /// Tells this start of the agent from others.
    pub life: u64,
}

/// Why an agent cannot serve; names the place and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServeError(String);

/// What all connections have in common.
struct Shared {
    settings: AgentSettings,
    expires_unix_s: u64,
    host: Arc<dyn Host>,
    fence: Fence,
    keys: Keys,
    hearing: Arc<Hearing>,
    peers: watch::Sender<Vec<Peer>>,
    commanded: watch::Sender<Commanded>,
    strangers: Mutex<Option<Instant>>,
}

/// Serves until it is dropped.
///
/// # Errors
/// When the bundle or the state directory cannot be used.
pub async fn serve(
    listener: TcpListener,
    bundle: Bundle,
    settings: AgentSettings,
    host: Arc<dyn Host>,
) -> Result<(), ServeError> {
    let failed = |error: String| ServeError(error);
    let acceptor = tls::server(&bundle.credentials).map_err(|e| failed(e.to_string()))?;
    let client = tls::client(&bundle.credentials).map_err(|e| failed(e.to_string()))?;
    let fence = Fence::open(&settings.state_dir, &bundle.credentials.authority)
        .map_err(|e| failed(e.to_string()))?;
    let shared = Arc::new(Shared {
        settings,
        expires_unix_s: bundle.credentials.expires_unix_s,
        host,
        fence,
        keys: Keys::default(),
        hearing: Arc::default(),
        peers: watch::Sender::new(Vec::new()),
        commanded: watch::Sender::new(Commanded::default()),
        strangers: Mutex::default(),
    });
    let me = Target { node: bundle.node, address: bundle.address, tls: client };
    let peers = beat::with_peers(me, shared.peers.subscribe(), shared.hearing.clone());
    let orphans = orphan::run(shared.commanded.subscribe(), shared.host.clone());
    tokio::select! {
        () = accept(listener, TlsAcceptor::from(acceptor), shared.clone()) => {}
        () = peers => {}
        () = orphans => {}
        () = beat::hear_keeper(shared.hearing.clone()) => {}
    }
    Ok(())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while open.try_join_next().is_some() {}
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, mostly: others may close theirs.
                tracing::warn!(%error, "cannot take a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        open.spawn(async move {
            let _place = place;
            if let Err(error) = connection(tcp, acceptor, &shared).await {
                shared.tell_of(from, &error);
            }
        });
    }
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, shared: &Shared) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its handshake took too long");
    let mut stream = timeout(HANDSHAKE, acceptor.accept(tcp)).await.map_err(late)??;
    let hello: Hello = frame::receive(&mut stream, HANDSHAKE).await?;
    if let Err(why) = may(&stream, &hello) {
        return refuse(&mut stream, why, 0).await;
    }
    match hello.wants {
        Wants::Command { term, orphan_after } => {
            session::run(stream, term, orphan_after, shared).await
        }
        Wants::Beat { from } => {
            greet(&mut stream, shared).await?;
            beat::acknowledge(stream, from, &shared.hearing).await
        }
        Wants::Log { name, lines, follow } => {
            greet(&mut stream, shared).await?;
            logs::send(stream, shared.host.clone(), name, lines, follow).await
        }
    }
}

/// Whether this certificate may ask for that.
fn may(stream: &TlsStream<TcpStream>, hello: &Hello) -> Result<(), String> {
    if hello.version != VERSION {
        return Err(format!(
            "it speaks version {} and this agent {VERSION}; run the same Evenkeel on both hosts",
            hello.version
        ));
    }
    let node = match &hello.wants {
        Wants::Beat { from } => from.as_deref(),
        Wants::Command { .. } | Wants::Log { .. } => None,
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    match shown {
        Some(certificate) if tls::is(certificate, node) => Ok(()),
        _ => Err("its certificate is for somebody else; only the keeper commands".to_owned()),
    }
}

async fn greet(stream: &mut TlsStream<TcpStream>, shared: &Shared) -> io::Result<()> {
    let (life, expires_unix_s) = (shared.settings.life, shared.expires_unix_s);
    frame::send(stream, &Greeting::Welcome { life, expires_unix_s }).await
}

async fn refuse(stream: &mut TlsStream<TcpStream>, why: String, epoch: u64) -> io::Result<()> {
    frame::send(stream, &Greeting::Refused { why: why.clone(), epoch }).await?;
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("refused: {why}")))
}

impl Shared {
    /// One line about a connection that came to nothing, and not one for each of many.
    fn tell_of(&self, from: SocketAddr, error: &io::Error) {
        let now = clock::now();
        let mut last = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= STRANGERS) {
            *last = Some(now);
            tracing::warn!(%from, %error, "connection ended");
        }
    }
}
