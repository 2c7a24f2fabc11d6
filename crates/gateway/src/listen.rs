//! Accepting clients and speaking HTTP/1.1 and HTTP/2 with them.
//!
//! Each connection is one task. What is wrong with one client, however slow or malformed,
//! ends that client's connection and nothing else.

mod patience;
mod quiet;

use crate::handle::{self, ClientInfo};
use crate::upstream::LocalExecutor;
use crate::worker::Worker;
use evenkeel_domain::clock;
use evenkeel_wire::within;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use patience::Patience;
use quiet::Quiet;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after accepting failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client that has just connected may take to ask once the gateway drains.
const FIRST: Duration = Duration::from_millis(500);
/// How often it is looked whether it has: only while draining, and only for these.
const FIRST_STEP: Duration = Duration::from_millis(10);

/// One listening socket of one worker.
pub struct Listener {
    /// The socket, bound and listening.
    pub socket: std::net::TcpListener,
    /// TLS, where this listener speaks it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Serves one listener until the gateway drains and its last connection is done.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Listener) -> io::Result<()> {
    listener.socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(listener.socket)?;
    let tls = listener.tls.map(TlsAcceptor::from);
    let mut draining = worker.shared.draining.subscribe();
    // Each connection's task holds one sender; when all are gone the worker has drained.
    let (alive, mut all_done) = mpsc::channel::<()>(1);
    loop {
        let room =
            worker.shared.connections.load(Relaxed) < worker.shared.settings.limits.connections;
        tokio::select! {
            biased;
            _ = draining.wait_for(|d| *d) => break,
            accepted = socket.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    worker.shared.connections.fetch_add(1, Relaxed);
                    let counted = Counted { worker: worker.clone(), _alive: alive.clone() };
                    spawn_connection(counted, stream, peer, tls.as_ref());
                }
                Err(error) => {
                    // Out of descriptors: those who are here go on, the rest wait.
                    tracing::warn!(%error, "cannot accept a connection; check LimitNOFILE");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = tokio::time::sleep(ACCEPT_PAUSE), if !room => {}
        }
    }
    drop(socket);
    drop(alive);
    all_done.recv().await;
    Ok(())
}

/// Serves what this process asks of itself, as a client, until the gateway drains and the
/// last of it is answered.
pub(crate) async fn serve_within(worker: Rc<Worker>, mut from: within::Listener) {
    let mut draining = worker.shared.draining.subscribe();
    let (alive, mut all_done) = mpsc::channel::<()>(1);
    loop {
        tokio::select! {
            biased;
            _ = draining.wait_for(|d| *d) => break,
            taken = from.accept() => match taken {
                None => break,
                Some(stream) => {
                    let (worker, alive) = (worker.clone(), alive.clone());
                    tokio::task::spawn_local(async move {
                        http(&worker, stream, ClientInfo::internal()).await;
                        drop(alive);
                    });
                }
            }
        }
    }
    // Refused from now on, rather than left to wait.
    drop(from);
    drop(alive);
    all_done.recv().await;
}

/// Counts a connection out, however it ends.
struct Counted {
    worker: Rc<Worker>,
    _alive: mpsc::Sender<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.shared.connections.fetch_sub(1, Relaxed);
    }
}

/// Starts a connection's task. Plain and TLS connections are different tasks: thousands of
/// the former must not be as large as the latter.
fn spawn_connection(
    counted: Counted,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&TlsAcceptor>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => {
            tokio::task::spawn_local(async move {
                http(&counted.worker, stream, ClientInfo::new(peer, false)).await;
            });
        }
        Some(acceptor) => {
            let accepting = acceptor.accept(stream);
            tokio::task::spawn_local(async move {
                match tokio::time::timeout(HANDSHAKE, accepting).await {
                    Ok(Ok(stream)) => {
                        http(&counted.worker, stream, ClientInfo::new(peer, true)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                }
            });
        }
    }
}

async fn http<S>(worker: &Rc<Worker>, stream: S, client: ClientInfo)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Rc::new(client);
    let asked = Cell::new(false);
    // Boxed: what a request needs until its commit is freed then, not with the connection.
    // It is made in its place: `Box::pin` would make it on the stack and copy all of its
    // 8 KB, of which it needs 300 bytes to begin.
    let service = service_fn(|request| {
        asked.set(true);
        let place = Box::new_uninit();
        Box::into_pin(Box::write(place, handle::handle(worker.clone(), client.clone(), request)))
    });
    let builder = builder(worker);
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut draining: watch::Receiver<bool> = worker.shared.draining.subscribe();
    // To ask each time would cost every step of every request. Boxed: with it the task would
    // be a little larger than a block of the allocator.
    let mut ending = Quiet::new(Box::pin(told_to_end(&mut draining, &asked)));
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %client.ip, %error, "client connection ended early");
                }
                return;
            }
            () = &mut ending, if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Done when the connection is to end after what is under way. One who has just connected
/// may ask first: hyper would close the connection unheard, and the client could not know
/// that it may ask again.
async fn told_to_end(draining: &mut watch::Receiver<bool>, asked: &Cell<bool>) {
    let _ = draining.wait_for(|d| *d).await;
    let until = clock::now() + FIRST;
    while !asked.get() && clock::now() < until {
        tokio::time::sleep(FIRST_STEP).await;
    }
}

fn builder(worker: &Worker) -> auto::Builder<LocalExecutor> {
    let limits = &worker.shared.settings.limits;
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http1()
        // Heads, answers and events are small: to copy them together costs less than to have
        // the kernel gather them.
        .writev(false)
        .timer(Patience::default())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes.max(8192))
        .max_headers(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
