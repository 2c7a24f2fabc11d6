//! The proxy that carries the faults out.

mod accept;
mod connection;
mod port;
mod request;

use crate::fault::{BadFault, Fault, Pass, SharedFault, parse};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A TCP proxy on a loopback port, before one upstream, that can be made to fail.
///
/// Made for HTTP/1 and alike, where the client speaks first: the upstream is called when a
/// connection's first bytes come. When it is dropped, its port closes and its connections
/// with it.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    fault: watch::Sender<Current>,
    applied: watch::Receiver<u64>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// The fault that holds.
#[derive(Debug, Clone)]
struct Current {
    version: u64,
    fault: SharedFault,
}

/// What a proxy has seen and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Of them, those still open.
    pub open: u64,
    /// Bytes passed to the upstream.
    pub bytes_up: u64,
    /// Bytes passed to clients, own answers included.
    pub bytes_down: u64,
    /// Connections ended by a fault.
    pub ended: u64,
    /// Times that a connection or a piece was made to wait for the fault's end.
    pub stalled: u64,
    /// Requests answered in the upstream's place.
    pub answered: u64,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    closed: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    ended: AtomicU64,
    stalled: AtomicU64,
    answered: AtomicU64,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    seed: u64,
    counts: Arc<Counts>,
}

impl FaultProxy {
    /// Starts without a fault, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::start_seeded(upstream, 1).await
    }

    /// As [`FaultProxy::start`]; what is up to chance follows from the seed.
    ///
    /// # Errors
    /// When no port can be had.
    // Async, as it needs a runtime and later ports may have to wait.
    #[allow(clippy::unused_async)]
    pub async fn start_seeded(upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let port = port::Port::reserve()?;
        let listener = port.listen()?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared { upstream, seed, counts: counts.clone() });
        let (fault, current) = watch::channel(Current { version: 0, fault: Arc::new(Pass) });
        let (done, applied) = watch::channel(0);
        let addr = port.addr();
        let task = tokio::spawn(accept::run(port, listener, shared, current, done));
        Ok(Self { addr, fault, applied, counts, task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Puts a fault in place of the present one. When it returns, new connections meet it;
    /// open ones do with their next piece.
    pub async fn set(&self, fault: impl Fault) {
        self.set_shared(Arc::new(fault)).await;
    }

    /// As [`FaultProxy::set`], from text such as `latency:50ms`.
    ///
    /// # Errors
    /// When the text names no fault.
    pub async fn set_text(&self, fault: &str) -> Result<(), BadFault> {
        self.set_shared(parse(fault)?).await;
        Ok(())
    }

    /// As [`FaultProxy::set`].
    pub async fn set_shared(&self, fault: SharedFault) {
        let mut mine = 0;
        self.fault.send_modify(|current| {
            mine = current.version + 1;
            *current = Current { version: mine, fault };
        });
        // An error means that the proxy's task is gone, and with it all it could apply to.
        let _ = self.applied.clone().wait_for(|applied| *applied >= mine).await;
    }

    /// Ends the fault.
    pub async fn clear(&self) {
        self.set(Pass).await;
    }

    /// The fault that holds.
    #[must_use]
    pub fn fault(&self) -> SharedFault {
        self.fault.borrow().fault.clone()
    }

    /// What it has seen and done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counts = &*self.counts;
        let closed = counts.closed.load(Relaxed);
        let accepted = counts.accepted.load(Relaxed);
        Stats {
            accepted,
            open: accepted - closed,
            bytes_up: counts.bytes_up.load(Relaxed),
            bytes_down: counts.bytes_down.load(Relaxed),
            ended: counts.ended.load(Relaxed),
            stalled: counts.stalled.load(Relaxed),
            answered: counts.answered.load(Relaxed),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
