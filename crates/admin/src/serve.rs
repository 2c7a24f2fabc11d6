//! Accepting callers and speaking HTTP with them, within bounds.

use crate::api::{Api, router};
use crate::expose::check_exposure;
use crate::ports::AdminState;
use crate::window::{TICK, Window};
use axum::Router;
use evenkeel_domain::clock;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections open at once; further ones wait in the backlog.
const CONNECTIONS: usize = 256;
/// Bytes of a request's head.
const HEAD: usize = 32 << 10;
/// Header fields of a request.
const HEADERS: usize = 64;
/// How long a head may take to come, and a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged: ends streams to callers that are gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// Pause after accepting failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long one who has just connected may take to ask once the server ends: hyper would
/// close the connection unheard, and the caller could not know that it may ask again.
const FIRST: Duration = Duration::from_millis(500);
/// How long answers under way may take once the server ends.
const GRACE: Duration = Duration::from_secs(3);

/// Serves the API on `listeners`, with TLS on all of them when `tls` is given, until
/// `shutdown` is done; then streams end, and answers under way get three seconds.
///
/// Runs on a current-thread runtime with time and I/O enabled. Liveness and readiness are
/// answered until `shutdown`, so it should come last, when draining is over.
///
/// # Errors
/// When a listener is not on loopback and token or TLS is missing.
pub async fn serve(
    state: AdminState,
    listeners: Vec<TcpListener>,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    for listener in &listeners {
        check_exposure(listener.local_addr()?, state.token.is_some(), tls.is_some())
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    }
    let (stop, stopped) = watch::channel(false);
    let state = Arc::new(state);
    let window = Arc::new(Window::new(clock::now()));
    let server = Server {
        router: router(Api::new(state.clone(), window.clone(), stopped.clone())),
        tls: tls.map(TlsAcceptor::from),
        room: Arc::new(Semaphore::new(CONNECTIONS)),
        stop: stopped,
    };
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(server.clone(), listener));
    }
    drop(server);
    tokio::select! {
        () = sample(state, window) => {}
        () = shutdown => {}
    }
    stop.send_replace(true);
    // What does not end in time is aborted with the set.
    let _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn sample(state: Arc<AdminState>, window: Arc<Window>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        window.sample(&*state.source, clock::now());
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

async fn accept(server: Server, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let mut stop = server.stop.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let room = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            room = server.room.clone().acquire_owned() => match room {
                Ok(room) => room,
                Err(_) => break,
            },
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let server = server.clone();
                connections.spawn(async move {
                    connection(server, stream, peer).await;
                    drop(room);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot accept; check LimitNOFILE");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(server: Server, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    match server.tls.clone() {
        None => http(server, stream, peer).await,
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(server, stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn http<S>(server: Server, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Server { router, mut stop, .. } = server;
    let builder = builder();
    let asked = Notify::new();
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        asked.notify_one();
        inner.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let over = async {
        let _ = stop.wait_for(|stop| *stop).await;
        // Known at once when it has asked before.
        let _ = tokio::time::timeout(FIRST, asked.notified()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = over => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a caller's connection ended early");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_TIME)
        .keep_alive_timeout(HEAD_TIME);
    builder
}
