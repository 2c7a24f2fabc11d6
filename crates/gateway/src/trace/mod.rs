//! Spans: what a request and each of its attempts did, for a collector elsewhere.
//!
//! ```text
//! request  ├──────────────────────────────────────┤   server span, child of the client's
//! attempt      ├── replica a ──┤                      client spans; each one's id is what
//! attempt                        ├── replica b ──┤    its replica gets in `traceparent`
//! ```
//! Without a [`Tracer`] the request path only looks at an empty `Option`, and passes the
//! client's fields on untouched. With one it decides once, at the head: a request whose
//! client records is recorded, of the others a share.

pub(crate) mod parent;
mod request;

use evenkeel_domain::Outcome;
use http::{Method, Request};
use parent::{TRACEPARENT, TRACESTATE, TraceParent};
pub(crate) use request::{AttemptTrace, RequestTrace};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::mpsc;

/// One finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace it belongs to; never zero.
    pub trace_id: u128,
    /// Its own id; never zero.
    pub span_id: u64,
    /// The span it belongs under; `None` for the first of a trace.
    pub parent_id: Option<u64>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// When it ended.
    pub end_unix_nanos: u64,
    /// What was done.
    pub work: Work,
}

/// What a span was about.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// One request of a client.
    Request(Box<RequestSpan>),
    /// One attempt on a replica.
    Attempt(AttemptSpan),
}

/// A request as its span tells of it: never its query, body or credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSpan {
    /// The method.
    pub method: Method,
    /// The path, cut where it is too long.
    pub path: String,
    /// What the path asks of a model, in the words of OpenTelemetry: `chat`, …
    pub operation: Option<&'static str>,
    /// The model that the client named.
    pub model: Option<String>,
    /// The host that the client called.
    pub server: Option<String>,
    /// The service that it found.
    pub service: Option<Arc<str>>,
    /// The status of the answer; `None` when the client left before it.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// How many attempts were made.
    pub attempts: u32,
}

/// An attempt as its span tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptSpan {
    /// The replica.
    pub replica: Arc<str>,
    /// Its host.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// The request's method.
    pub method: Method,
    /// How it ended.
    pub outcome: Outcome,
}

/// Decides what is recorded, and takes the spans to whoever exports them.
#[derive(Debug)]
pub struct Tracer {
    spans: mpsc::Sender<Span>,
    lost: AtomicU64,
    /// Of all numbers that a request may draw, those below this are recorded.
    below: u64,
    all: bool,
}

impl Tracer {
    /// A tracer that records `share` (0 to 1) of the requests whose client does not
    /// record. A full channel loses spans rather than hold up a request.
    #[must_use]
    pub fn new(spans: mpsc::Sender<Span>, share: f64) -> Self {
        // The cast saturates; a share that is no number records nothing.
        let below = (share * u64::MAX as f64) as u64;
        Self { spans, lost: AtomicU64::new(0), below, all: share >= 1.0 }
    }

    /// Spans lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Counts spans that were taken but could not be delivered.
    pub fn add_lost(&self, spans: u64) {
        self.lost.fetch_add(spans, Relaxed);
    }

    fn send(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.add_lost(1);
        }
    }

    /// Begins the span of a request that is to be recorded, and takes its `traceparent`
    /// away: each attempt sends its own. Of the others a valid one is left as it is.
    pub(crate) fn begin<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        rng: &mut fastrand::Rng,
        started: Instant,
    ) -> Option<Rc<RequestTrace>> {
        let given = TraceParent::of(request.headers());
        let recorded = given.is_some_and(TraceParent::is_sampled)
            || self.all
            || (self.below > 0 && rng.u64(..) < self.below);
        if given.is_none() {
            // It says something about a trace that cannot be known any more.
            request.headers_mut().remove(TRACESTATE);
        }
        if recorded || given.is_none() {
            request.headers_mut().remove(TRACEPARENT);
        }
        recorded.then(|| Rc::new(RequestTrace::new(self.clone(), given, request, rng, started)))
    }
}

#[cfg(test)]
mod tests;
