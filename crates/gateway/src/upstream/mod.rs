//! Connections to replicas: one pool per worker, so that no request waits for a lock or
//! another core.
//!
//! ```text
//! checkout ─► idle h1 connection ── request ── answer read to its end ─► checkin
//!        └──► new one (dial)                └── anything else ─► closed with its drop
//! ```
//! HTTP/2 has one connection per replica and worker, shared by all requests.

pub(crate) mod codec;
mod h1;
mod h2;

use crate::body::BodyError;
use crate::template::Template;
use bytes::Bytes;
use evenkeel_domain::outcome::{NetworkFault, Outcome};
use evenkeel_domain::transport::Connection;
use evenkeel_domain::{Incarnation, Replica, clock};
use h1::H1;
pub(crate) use h1::H1Body;
pub(crate) use h2::{LocalExecutor, send_upgrade};
use http::response::Parts;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
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
/// A kept connection that breaks within this after a request was closed by the server
/// before the request came, most likely: a fresh one tells more.
const STALE_WITHIN: Duration = Duration::from_millis(50);

/// All pools of one worker, by replica.
#[derive(Default)]
pub(crate) struct Pools {
    by_replica: RefCell<HashMap<u64, Rc<Connections>>>,
}

/// The connections of one worker to one replica.
#[derive(Default)]
pub(crate) struct Connections {
    idle: RefCell<Vec<Idle>>,
    h2: h2::Shared,
    /// Which start of the replica they lead to, and by which way.
    lead: Cell<(Incarnation, u32)>,
}

struct Idle {
    connection: H1,
    since: Instant,
}

/// Why no head of an answer came.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) outcome: Outcome,
    /// Whether no byte of the request can have reached the replica.
    pub(crate) unsent: bool,
    /// The request's body could not be read from the client.
    pub(crate) client_broke: bool,
    pub(crate) text: String,
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    H1(H1Body),
    H2(Incoming),
}

/// An answer's head and body.
pub(crate) type Answer = (Parts, AnswerBody);

impl AnswerBody {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::H1(body) => body.poll_frame(cx),
            Self::H2(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
        }
    }

    /// The next piece.
    pub(crate) async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(body) => body.is_end_stream(),
            Self::H2(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(body) => body.size_hint(),
            Self::H2(body) => body.size_hint(),
        }
    }
}

impl Pools {
    /// The connections to a replica.
    pub(crate) fn of(&self, replica: &Replica) -> Rc<Connections> {
        let mut all = self.by_replica.borrow_mut();
        let found = all.entry(replica.id.key).or_default();
        let lead = (replica.live.incarnation(), replica.id.dial.turns());
        if found.lead.replace(lead) != lead {
            found.idle.borrow_mut().clear();
            found.h2.clear();
        }
        found.clone()
    }

    /// Drops connections to replicas that `keep` does not name, and idle ones that are too
    /// old or closed.
    pub(crate) fn sweep(&self, keep: impl Fn(u64) -> bool, now: Instant) {
        let mut all = self.by_replica.borrow_mut();
        all.retain(|key, _| keep(*key));
        for connections in all.values() {
            connections.idle.borrow_mut().retain_mut(|idle| {
                now.saturating_duration_since(idle.since) < IDLE_REPEATABLE
                    && idle.connection.is_quiet()
            });
        }
    }
}

impl Connections {
    fn checkout(&self, repeatable: bool, now: Instant) -> Option<H1> {
        let mut idle = self.idle.borrow_mut();
        let longest = if repeatable { IDLE_REPEATABLE } else { IDLE_ONCE };
        while let Some(mut last) = idle.pop() {
            if now.saturating_duration_since(last.since) < longest && last.connection.is_quiet() {
                return Some(last.connection);
            }
        }
        None
    }

    fn checkin(&self, connection: H1, since: Instant) {
        if connection.way() != self.lead.get().1 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since });
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        self: &Rc<Self>,
        replica: &Replica,
        template: &Template,
        now: Instant,
    ) -> Result<Answer, SendFailure> {
        if template.needs_h2 || replica.id.h2 {
            return Box::pin(h2::send(self, replica, template)).await;
        }
        if let Some(kept) = self.checkout(template.repeatable, now) {
            match self.exchange(kept, replica, template).await {
                Err(failure) if is_stale(&failure, template, now) => {}
                other => return other,
            }
        }
        let way = replica.id.dial.turns();
        let connection = Box::pin(dial(replica, template.connect)).await?;
        if connection.h2 {
            return Box::pin(h2::send_on(self, connection, replica, template)).await;
        }
        self.exchange(H1::new(connection.io, way), replica, template).await
    }

    async fn exchange(
        self: &Rc<Self>,
        connection: H1,
        replica: &Replica,
        template: &Template,
    ) -> Result<Answer, SendFailure> {
        let body = template.body_for(replica).ok_or_else(already_sent)?;
        let head = template.encode_h1(&replica.id, &body);
        let home = Rc::downgrade(self);
        let (head, body) = connection.exchange(head, body, &template.method, home).await?;
        Ok((head, AnswerBody::H1(body)))
    }
}

fn is_stale(failure: &SendFailure, template: &Template, sent: Instant) -> bool {
    failure.outcome == Outcome::NetworkFault(NetworkFault::Reset)
        && template.repeatable
        && template.can_send()
        && clock::now().saturating_duration_since(sent) < STALE_WITHIN
}

fn already_sent() -> SendFailure {
    SendFailure {
        outcome: Outcome::ClientFault,
        unsent: false,
        client_broke: false,
        text: "the body was already sent".into(),
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

fn unsent(fault: NetworkFault, text: String) -> SendFailure {
    SendFailure { outcome: Outcome::NetworkFault(fault), unsent: true, client_broke: false, text }
}
