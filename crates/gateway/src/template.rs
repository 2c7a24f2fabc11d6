//! What is sent to a replica: one template, from which each attempt's request is made.

use crate::body::{ClientRest, UpBody};
use crate::error::Shape;
use crate::headers;
use crate::route::head::with_model;
use bytes::Bytes;
use evenkeel_domain::replica::Identity;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use std::cell::RefCell;
use std::ops::Range;
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
}

/// The body to send.
pub(crate) enum TemplateBody {
    /// Held whole, sent as often as needed. Keeps its share of the memory budget.
    Whole(
        Bytes,
        #[expect(dead_code, reason = "held for its drop")] Option<crate::shared::Reserved>,
    ),
    /// Too large to hold: goes with the first attempt, and only once.
    Once(RefCell<Option<(Bytes, Box<ClientRest>)>>),
}

impl Template {
    /// Whether the body can still be sent in full.
    pub(crate) fn can_send(&self) -> bool {
        match &self.body {
            TemplateBody::Whole(..) => true,
            TemplateBody::Once(rest) => rest.borrow().is_some(),
        }
    }

    /// The request for one replica; `None` when the body can no longer be sent.
    pub(crate) fn build(&self, to: &Identity) -> Option<Request<UpBody>> {
        let mut request = Request::new(self.body_for(to)?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri_for(to);
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        if !self.needs_h2 && !to.h2 {
            headers.insert(HOST, HeaderValue::from_str(&to.endpoint.authority).ok()?);
        }
        headers::add_own(headers, &to.headers);
        Some(request)
    }

    fn body_for(&self, to: &Identity) -> Option<UpBody> {
        let renamed = |bytes: &Bytes| match &self.model {
            None => bytes.clone(),
            Some((at, alias)) => match to.model.as_deref().or(alias.as_deref()) {
                None => bytes.clone(),
                Some(name) => Bytes::from(with_model(bytes, at.clone(), name)),
            },
        };
        match &self.body {
            TemplateBody::Whole(bytes, _) => Some(UpBody::Full(Some(renamed(bytes)))),
            TemplateBody::Once(rest) => {
                let (first, rest) = rest.borrow_mut().take()?;
                Some(UpBody::Stream(Some(renamed(&first)), rest))
            }
        }
    }

    /// Origin form for HTTP/1.1, absolute form for HTTP/2 (it becomes the pseudo-headers).
    fn uri_for(&self, to: &Identity) -> Uri {
        let h2 = self.needs_h2 || to.h2;
        if !h2 && to.endpoint.prefix.is_empty() {
            return self.uri.clone();
        }
        let path = self.uri.path_and_query().map_or("/", |p| p.as_str());
        let path = format!("{}{path}", to.endpoint.prefix);
        if !h2 {
            return path.parse().unwrap_or_else(|_| self.uri.clone());
        }
        let scheme = if to.endpoint.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(&*to.endpoint.authority)
            .path_and_query(path)
            .build()
            .unwrap_or_else(|_| self.uri.clone())
    }
}
