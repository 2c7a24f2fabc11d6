//! Connections to replicas: one pool per worker, so that no request waits for a lock or
//! another core.
//!
//! ```text
//! checkout ─► idle h1 connection ── request ── answer read to its end ─► checkin
//!        └──► new one (dial)                └── anything else ─► closed with its drop
//! ```
//! HTTP/2 has one connection per replica and worker, shared by all requests.

use crate::body::UpBody;
use evenkeel_domain::outcome::NetworkFault;
use evenkeel_domain::transport::Connection;
use evenkeel_domain::{Incarnation, Replica};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Idle connections kept per replica and worker. More than this many requests at once on
/// one worker are rare enough to dial anew.
const IDLE_MAX: usize = 512;
/// How long an idle connection is used for requests that may be sent twice.
const IDLE_REPEATABLE: Duration = Duration::from_secs(50);
/// … and for those that may not: below uvicorn's keep-alive of 5 s, so that the server
/// does not close it under the request.
const IDLE_ONCE: Duration = Duration::from_secs(4);

/// All pools of one worker, by replica.
#[derive(Default)]
pub(crate) struct Pools {
    by_replica: RefCell<HashMap<u64, Rc<Connections>>>,
}

/// The connections of one worker to one replica.
#[derive(Default)]
pub(crate) struct Connections {
    idle: RefCell<Vec<Idle>>,
    h2: RefCell<Option<http2::SendRequest<UpBody>>>,
    incarnation: Cell<Incarnation>,
}

struct Idle {
    sender: http1::SendRequest<UpBody>,
    since: Instant,
}

/// Gives an HTTP/1.1 connection back once its answer was read to the end; dropped before
/// that, the connection closes and the replica sees the client leave.
pub(crate) struct Checkin {
    sender: Option<http1::SendRequest<UpBody>>,
    home: Weak<Connections>,
}

/// Why no head of an answer came.
pub(crate) struct SendFailure {
    pub(crate) fault: NetworkFault,
    /// Whether no byte of the request can have reached the replica.
    pub(crate) unsent: bool,
    /// The request's body could not be read from the client.
    pub(crate) client_broke: bool,
    pub(crate) text: String,
}

/// An answer's head, and what brings its connection home.
pub(crate) type Answer = (Response<Incoming>, Checkin);

impl Pools {
    /// The connections to a replica.
    pub(crate) fn of(&self, replica: &Replica) -> Rc<Connections> {
        let mut all = self.by_replica.borrow_mut();
        let found = all.entry(replica.id.key).or_default();
        let incarnation = replica.live.incarnation();
        if found.incarnation.replace(incarnation) != incarnation {
            found.clear();
        }
        found.clone()
    }

    /// Drops connections to replicas that `keep` does not name, and idle ones too old to use.
    pub(crate) fn sweep(&self, keep: impl Fn(u64) -> bool, now: Instant) {
        let mut all = self.by_replica.borrow_mut();
        all.retain(|key, _| keep(*key));
        for connections in all.values() {
            connections.idle.borrow_mut().retain(|idle| {
                !idle.sender.is_closed() && now.duration_since(idle.since) < IDLE_REPEATABLE
            });
        }
    }
}

impl Connections {
    fn clear(&self) {
        self.idle.borrow_mut().clear();
        self.h2.borrow_mut().take();
    }

    fn checkout(&self, repeatable: bool, now: Instant) -> Option<http1::SendRequest<UpBody>> {
        let mut idle = self.idle.borrow_mut();
        let longest = if repeatable { IDLE_REPEATABLE } else { IDLE_ONCE };
        while let Some(last) = idle.pop() {
            if last.sender.is_ready() && now.duration_since(last.since) < longest {
                return Some(last.sender);
            }
        }
        None
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        self: &Rc<Self>,
        replica: &Replica,
        h2: bool,
        repeatable: bool,
        connect: Duration,
        mut request: Request<UpBody>,
        now: Instant,
    ) -> Result<Answer, SendFailure> {
        if h2 || replica.id.h2 {
            return self.send_h2(replica, connect, request).await;
        }
        if let Some(sender) = self.checkout(repeatable, now) {
            match self.exchange(sender, request).await {
                Ok(answer) => return Ok(answer),
                // The server had closed this connection: the request comes back untouched,
                // and a fresh connection tells more about the replica.
                Err((_, Some(unsent))) => request = unsent,
                Err((failure, None)) => return Err(failure),
            }
        }
        let sender = match self.connect(replica, connect).await? {
            Opened::H1(sender) => sender,
            Opened::H2(sender) => return send_on_h2(sender, request).await,
        };
        self.exchange(sender, request).await.map_err(|(failure, _)| failure)
    }

    async fn exchange(
        self: &Rc<Self>,
        mut sender: http1::SendRequest<UpBody>,
        request: Request<UpBody>,
    ) -> Result<Answer, (SendFailure, Option<Request<UpBody>>)> {
        match sender.try_send_request(request).await {
            Ok(response) => {
                let checkin = Checkin { sender: Some(sender), home: Rc::downgrade(self) };
                Ok((response, checkin))
            }
            Err(mut error) => {
                let unsent = error.take_message();
                Err((failure(error, unsent.is_some()), unsent))
            }
        }
    }

    async fn connect(
        self: &Rc<Self>,
        replica: &Replica,
        limit: Duration,
    ) -> Result<Opened, SendFailure> {
        let connection = dial(replica, limit).await?;
        let io = TokioIo::new(connection.io);
        if connection.h2 || replica.id.h2 {
            return self.handshake_h2(io).await.map(Opened::H2);
        }
        let (sender, driver) = http1::handshake(io)
            .await
            .map_err(|e| unsent(NetworkFault::Unreachable, e.to_string()))?;
        tokio::task::spawn_local(async move {
            // How the exchange ended is told to the request itself.
            let _ = driver.await;
        });
        Ok(Opened::H1(sender))
    }

    async fn handshake_h2(
        &self,
        io: TokioIo<Box<dyn evenkeel_domain::transport::Io>>,
    ) -> Result<http2::SendRequest<UpBody>, SendFailure> {
        let (sender, driver) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            // A peer that vanished is noticed although nothing is sent to it.
            .keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .adaptive_window(true)
            .handshake(io)
            .await
            .map_err(|e| unsent(NetworkFault::Unreachable, e.to_string()))?;
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        *self.h2.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }

    async fn send_h2(
        self: &Rc<Self>,
        replica: &Replica,
        limit: Duration,
        request: Request<UpBody>,
    ) -> Result<Answer, SendFailure> {
        let open = self.h2.borrow().clone().filter(|sender| !sender.is_closed());
        if let Some(sender) = open {
            return send_on_h2(sender, request).await;
        }
        let connection = dial(replica, limit).await?;
        let sender = self.handshake_h2(TokioIo::new(connection.io)).await?;
        send_on_h2(sender, request).await
    }
}

async fn dial(replica: &Replica, limit: Duration) -> Result<Connection, SendFailure> {
    match timeout(limit, replica.id.dial.dial()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(unsent(error.fault, error.text)),
        Err(_) => {
            let text = format!("no connection to {} within {limit:?}", replica.id.endpoint);
            Err(unsent(NetworkFault::ConnectTimeout, text))
        }
    }
}

enum Opened {
    H1(http1::SendRequest<UpBody>),
    H2(http2::SendRequest<UpBody>),
}

async fn send_on_h2(
    mut sender: http2::SendRequest<UpBody>,
    request: Request<UpBody>,
) -> Result<Answer, SendFailure> {
    if let Err(error) = sender.ready().await {
        return Err(unsent(NetworkFault::Reset, error.to_string()));
    }
    match sender.try_send_request(request).await {
        Ok(response) => Ok((response, Checkin::none())),
        Err(mut error) => {
            let untouched = error.take_message().is_some();
            Err(failure(error, untouched))
        }
    }
}

fn unsent(fault: NetworkFault, text: String) -> SendFailure {
    SendFailure { fault, unsent: true, client_broke: false, text }
}

fn failure(error: TrySendError<Request<UpBody>>, unsent: bool) -> SendFailure {
    let error = error.into_error();
    // What our own body stream reported is the client's doing, not the replica's.
    let client_broke = error.is_user();
    let text = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    SendFailure { fault: NetworkFault::Reset, unsent, client_broke, text }
}

impl Checkin {
    /// For a connection that is not used again.
    pub(crate) fn none() -> Self {
        Self { sender: None, home: Weak::new() }
    }

    /// The answer was read to its end: the connection may be used again.
    pub(crate) fn done(mut self, now: Instant) {
        if let (Some(sender), Some(home)) = (self.sender.take(), self.home.upgrade()) {
            let mut idle = home.idle.borrow_mut();
            if !sender.is_closed() && idle.len() < IDLE_MAX {
                idle.push(Idle { sender, since: now });
            }
        }
    }
}

/// Runs HTTP/2's own tasks on the worker's thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Opens a connection of its own for an upgrade and sends the request on it.
pub(crate) async fn send_upgrade(
    replica: &Replica,
    limit: Duration,
    request: Request<UpBody>,
) -> Result<Response<Incoming>, SendFailure> {
    let connection = dial(replica, limit).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection.io))
        .await
        .map_err(|e| unsent(NetworkFault::Unreachable, e.to_string()))?;
    tokio::task::spawn_local(async move {
        let _ = driver.with_upgrades().await;
    });
    sender.try_send_request(request).await.map_err(|mut error| {
        let untouched = error.take_message().is_some();
        failure(error, untouched)
    })
}
