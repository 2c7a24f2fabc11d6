//! The span of one request while it is under way, and of its attempts.

use super::parent::TraceParent;
use super::{AttemptSpan, RequestSpan, Span, Tracer, Work};
use evenkeel_domain::{Outcome, Replica, clock, rng};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Method, Request};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Paths, hosts and models are the client's to choose, and so is how much a span holds.
const TEXT_MAX: usize = 512;

/// A request under way that is recorded. Its span is handed over with the last drop: after
/// the answer's end, and after the spans of its attempts.
pub(crate) struct RequestTrace {
    tracer: Arc<Tracer>,
    /// The trace, with this request's span as parent.
    own: TraceParent,
    parent_id: Option<u64>,
    started: Instant,
    start_unix_nanos: u64,
    rng: RefCell<fastrand::Rng>,
    /// The newest span of each replica that was tried. One is enough: two attempts of one
    /// request never run on one replica at once.
    attempts: RefCell<SmallVec<[(u64, u64); 2]>>,
    ended: Cell<Option<(Instant, Outcome)>>,
    span: RefCell<RequestSpan>,
}

impl RequestTrace {
    pub(super) fn new<B>(
        tracer: Arc<Tracer>,
        given: Option<TraceParent>,
        request: &Request<B>,
        worker: &mut fastrand::Rng,
        started: Instant,
    ) -> Self {
        let mut rng = rng::seeded(worker.u64(..));
        let own = match given {
            Some(given) => given.under(rng.u64(1..)),
            None => TraceParent::new(&mut rng),
        };
        let path = request.uri().path();
        let span = RequestSpan {
            method: request.method().clone(),
            path: cut(path),
            operation: operation(request.method(), path),
            model: None,
            server: server(request),
            service: None,
            status: None,
            outcome: Outcome::Cancelled,
            attempts: 0,
        };
        let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = since.saturating_sub(clock::now().saturating_duration_since(started));
        Self {
            tracer,
            own,
            parent_id: given.map(|g| g.parent_id),
            started,
            start_unix_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            rng: RefCell::new(rng),
            attempts: RefCell::default(),
            ended: Cell::new(None),
            span: RefCell::new(span),
        }
    }

    /// The client names this model, as a JSON string.
    pub(crate) fn model(&self, json: &[u8]) {
        let name = serde_json::from_slice::<String>(json).ok();
        self.span.borrow_mut().model = name.map(|name| cut(&name));
    }

    /// It has found its service.
    pub(crate) fn service(&self, name: &Arc<str>) {
        self.span.borrow_mut().service = Some(name.clone());
    }

    /// The head of its answer is known.
    pub(crate) fn answered(&self, status: u16) {
        self.span.borrow_mut().status = Some(status);
    }

    /// It ended so; the first word counts.
    pub(crate) fn settle(&self, outcome: Outcome) {
        if self.ended.get().is_none() {
            self.ended.set(Some((clock::now(), outcome)));
        }
    }

    /// Begins the span of an attempt, which the replica is told of.
    pub(crate) fn attempt(self: &Rc<Self>, replica: &Replica, started: Instant) -> AttemptTrace {
        let span_id = self.rng.borrow_mut().u64(1..);
        let mut attempts = self.attempts.borrow_mut();
        match attempts.iter_mut().find(|(key, _)| *key == replica.id.key) {
            Some((_, newest)) => *newest = span_id,
            None => attempts.push((replica.id.key, span_id)),
        }
        let mut span = self.span.borrow_mut();
        span.attempts += 1;
        let work = AttemptSpan {
            replica: replica.id.name.clone(),
            host: replica.id.endpoint.host.clone(),
            port: replica.id.endpoint.port,
            method: span.method.clone(),
            outcome: Outcome::Cancelled,
        };
        AttemptTrace { request: self.clone(), span_id, started, work }
    }

    /// What the replica with this key gets as `traceparent`.
    pub(crate) fn parent_for(&self, replica: u64) -> [u8; 55] {
        let attempts = self.attempts.borrow();
        let found = attempts.iter().find(|(key, _)| *key == replica);
        found.map_or(self.own, |(_, span)| self.own.under(*span)).format()
    }

    /// The same as a header value.
    pub(crate) fn header_for(&self, replica: u64) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.parent_for(replica)).ok()
    }

    /// Both times of a span on the wall's clock, but as far apart as the steady one says.
    fn times(&self, started: Instant, ended: Instant) -> (u64, u64) {
        let at = |time: Instant| {
            let since = time.saturating_duration_since(self.started).as_nanos();
            self.start_unix_nanos.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
        };
        (at(started), at(ended))
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        let mut span = self.span.borrow().clone();
        let (ended, outcome) = self.ended.get().unwrap_or_else(|| {
            // Answered without a service: nothing went wrong, or it would have been said.
            let outcome = if span.status.is_some() { Outcome::Ok } else { Outcome::Cancelled };
            (clock::now(), outcome)
        });
        span.outcome = outcome;
        let (start_unix_nanos, end_unix_nanos) = self.times(self.started, ended);
        self.tracer.send(Span {
            trace_id: self.own.trace_id,
            span_id: self.own.parent_id,
            parent_id: self.parent_id,
            start_unix_nanos,
            end_unix_nanos,
            work: Work::Request(Box::new(span)),
        });
    }
}

/// An attempt under way of a request that is recorded.
pub(crate) struct AttemptTrace {
    request: Rc<RequestTrace>,
    span_id: u64,
    started: Instant,
    work: AttemptSpan,
}

impl AttemptTrace {
    /// It ended so.
    pub(crate) fn settle(self, outcome: Outcome) {
        let (start_unix_nanos, end_unix_nanos) = self.request.times(self.started, clock::now());
        self.request.tracer.send(Span {
            trace_id: self.request.own.trace_id,
            span_id: self.span_id,
            parent_id: Some(self.request.own.parent_id),
            start_unix_nanos,
            end_unix_nanos,
            work: Work::Attempt(AttemptSpan { outcome, ..self.work }),
        });
    }
}

fn cut(text: &str) -> String {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

fn server<B>(request: &Request<B>) -> Option<String> {
    let host = || {
        let text = request.headers().get(HOST)?.to_str().ok()?;
        text.parse::<Authority>().ok().map(|a| cut(a.host()))
    };
    request.uri().host().map(cut).or_else(host)
}

/// The values that OpenTelemetry's conventions know, for the paths that have one.
fn operation(method: &Method, path: &str) -> Option<&'static str> {
    if method != Method::POST {
        return None;
    }
    match path {
        "/v1/chat/completions" | "/v1/messages" | "/v1/responses" => Some("chat"),
        "/v1/completions" => Some("text_completion"),
        "/v1/embeddings" => Some("embeddings"),
        _ => None,
    }
}
