//! What is sent to a replica: one template, from which each attempt's request is made.

use crate::body::{ClientRest, UpBody};
use crate::error::Shape;
use crate::headers;
use crate::resume::ask::Ask;
use crate::resume::ledger::{Ledger, Step};
use crate::resume::rung::{Onward, Rung};
use crate::route::head::{self, with_model};
use crate::trace::RequestTrace;
use crate::trace::parent::TRACEPARENT;
use bytes::Bytes;
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::{Known, Replica};
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Body;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A request as every attempt on it needs it.
pub(crate) struct Template {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Without what concerns the client's connection and credentials.
    pub(crate) headers: HeaderMap,
    pub(crate) body: TemplateBody,
    /// Where the model's name stands in the body, and what replicas call it, where that
    /// differs from what the client said.
    pub(crate) model: Option<(Range<usize>, Option<String>)>,
    /// May be sent again although a replica has seen it.
    pub(crate) repeatable: bool,
    pub(crate) grpc: bool,
    pub(crate) needs_h2: bool,
    /// A HEAD request: no body comes, whatever the head says.
    pub(crate) head_only: bool,
    /// A 200 without content is a fault.
    pub(crate) expects_content: bool,
    /// Not a model's answer: its head goes out at once.
    pub(crate) commits_at_head: bool,
    pub(crate) shape: Shape,
    pub(crate) connect: Duration,
    pub(crate) idle: Duration,
    pub(crate) deadline: Instant,
    /// How its stream is carried on when its replica fails; `None` where none is asked for
    /// or understood.
    pub(crate) watch: Option<Watch>,
    /// Tells each replica the span of its own attempt, where the request is recorded.
    pub(crate) trace: Option<Rc<RequestTrace>>,
}

/// A stream that is watched, event by event.
pub(crate) struct Watch {
    pub(crate) ask: Rc<Ask>,
    /// Going on with what another replica began.
    pub(crate) onward: Option<OnwardWatch>,
}

/// What a successor's stream is fitted to.
pub(crate) struct OnwardWatch {
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) rung: Rung,
    pub(crate) from: Step,
}

/// The body to send.
pub(crate) enum TemplateBody {
    /// Held whole, sent as often as needed. Keeps its share of the memory budget.
    Whole(
        Bytes,
        #[expect(dead_code, reason = "held for its drop")] Option<Rc<crate::shared::Reserved>>,
    ),
    /// Too large to hold: goes with the first attempt, and only once.
    Once(RefCell<Option<(Bytes, Box<ClientRest>)>>),
}

impl Template {
    /// Whether this goes on with an answer that was begun elsewhere.
    pub(crate) fn is_onward(&self) -> bool {
        self.watch.as_ref().is_some_and(|w| w.onward.is_some())
    }

    /// The same request, to go on with its answer. `None` when its body is not held.
    pub(crate) fn onward(
        &self,
        onward: Onward,
        ask: Rc<Ask>,
        ledger: Rc<RefCell<Ledger>>,
        rung: Rung,
    ) -> Option<Self> {
        let TemplateBody::Whole(original, _) = &self.body else { return None };
        let same = rung == Rung::Regenerate;
        let body = if same { original.clone() } else { Bytes::from(onward.body) };
        let model = match same {
            true => self.model.clone(),
            false => self
                .model
                .as_ref()
                .and_then(|(_, alias)| Some((head::read(&body).ok()?.model?.1, alias.clone()))),
        };
        let uri = match onward.path {
            Some(path) => Uri::from_static(path),
            None => self.uri.clone(),
        };
        Some(Self {
            method: self.method.clone(),
            uri,
            headers: self.headers.clone(),
            body: TemplateBody::Whole(body, None),
            model,
            watch: Some(Watch {
                ask,
                onward: Some(OnwardWatch { ledger, rung, from: onward.from }),
            }),
            trace: self.trace.clone(),
            ..*self
        })
    }

    /// A hash of the model's name that the client asked for; 0 where it is not known.
    pub(crate) fn asked(&self) -> u64 {
        let name = self.model.as_ref().and_then(|(at, _)| self.held_body()?.get(at.clone()));
        name.map_or(0, |name| name_hash(&String::from_utf8_lossy(name)))
    }

    /// The body as the client sent it, where it is held.
    pub(crate) fn held_body(&self) -> Option<&Bytes> {
        match &self.body {
            TemplateBody::Whole(bytes, _) => Some(bytes),
            TemplateBody::Once(_) => None,
        }
    }

    /// Whether the body can still be sent in full.
    pub(crate) fn can_send(&self) -> bool {
        match &self.body {
            TemplateBody::Whole(..) => true,
            TemplateBody::Once(rest) => rest.borrow().is_some(),
        }
    }

    /// The request for one replica over HTTP/2; `None` when the body can no longer be sent.
    pub(crate) fn build_h2(&self, replica: &Replica) -> Option<Request<UpBody>> {
        let to = &replica.id;
        let mut request = Request::new(self.body_for(replica)?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.absolute_uri(to);
        *request.headers_mut() = self.headers.clone();
        if let Some(parent) = self.trace.as_ref().and_then(|t| t.header_for(to.key)) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        headers::add_own(request.headers_mut(), &to.headers);
        Some(request)
    }

    /// The head for one replica as HTTP/1.1 has it, framed for `body`.
    pub(crate) fn encode_h1(&self, to: &Identity, body: &UpBody) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(to.endpoint.prefix.as_bytes());
        out.extend_from_slice(self.uri.path_and_query().map_or("/", |p| p.as_str()).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(to.endpoint.authority.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            let own = to.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_str()));
            if !own {
                field(&mut out, name.as_str(), value.as_bytes());
            }
        }
        if let Some(trace) = &self.trace {
            field(&mut out, TRACEPARENT.as_str(), &trace.parent_for(to.key));
        }
        for (name, value) in &to.headers {
            field(&mut out, name, value.expose().as_bytes());
        }
        match body.size_hint().exact() {
            // A length of zero says nothing where no body is expected.
            Some(0) if self.method.is_safe() || self.method == Method::DELETE => {}
            Some(length) => {
                out.extend_from_slice(b"content-length: ");
                decimal(&mut out, length);
                out.extend_from_slice(b"\r\n");
            }
            None => field(&mut out, "transfer-encoding", b"chunked"),
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The body for one replica; `None` when it can no longer be sent.
    pub(crate) fn body_for(&self, replica: &Replica) -> Option<UpBody> {
        let to = &replica.id;
        let renamed = |bytes: &Bytes| match &self.model {
            None => bytes.clone(),
            Some((at, alias)) => match to.model.as_deref().or(alias.as_deref()) {
                None => bytes.clone(),
                Some(name) => Bytes::from(with_model(bytes, at.clone(), name)),
            },
        };
        match &self.body {
            TemplateBody::Whole(bytes, _) => {
                let body = renamed(bytes);
                Some(UpBody::Full(Some(if self.wants_ids_of(replica) {
                    with_ids(&body)
                } else {
                    body
                })))
            }
            TemplateBody::Once(rest) => {
                let (first, rest) = rest.borrow_mut().take()?;
                Some(UpBody::Stream(Some(renamed(&first)), rest))
            }
        }
    }

    /// Token ids make an answer exact to go on with; they are asked for where that may
    /// come about, and taken out again on the way to the client.
    fn wants_ids_of(&self, replica: &Replica) -> bool {
        self.watch.as_ref().is_some_and(|watch| {
            watch.ask.can_replay()
                && watch.onward.as_ref().is_none_or(|o| o.rung == Rung::Regenerate)
                && replica.abilities.token_ids.get() == Known::Yes
        })
    }

    /// Absolute form: HTTP/2 makes its pseudo-headers of it.
    fn absolute_uri(&self, to: &Identity) -> Uri {
        let path = self.uri.path_and_query().map_or("/", |p| p.as_str());
        let path = format!("{}{path}", to.endpoint.prefix);
        let scheme = if to.endpoint.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(&*to.endpoint.authority)
            .path_and_query(path)
            .build()
            .unwrap_or_else(|_| self.uri.clone())
    }
}

/// The body, asking for token ids. It is a JSON object with at least one field: it has
/// been read as a request for a stream.
fn with_ids(body: &Bytes) -> Bytes {
    let Some(open) = memchr::memchr(b'{', body) else { return body.clone() };
    let field: &[u8] = br#""return_token_ids":true,"#;
    [&body[..=open], field, &body[open + 1..]].concat().into()
}

/// One header field. Names and values were checked when they were read or configured.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
