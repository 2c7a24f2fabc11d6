//! What of a client's request goes to a replica.

use crate::body::read::ReadBody;
use crate::handle::{Call, ClientInfo};
use crate::headers::{self, REQUEST_ID};
use crate::owner::OWNER;
use crate::quorum;
use crate::resume::ask::Ask;
use crate::resume::{Api, unary};
use crate::route::{self, head};
use crate::routed::{ModelAt, Routed};
use crate::template::{Template, TemplateBody, Watch};
use bytes::Bytes;
use evenkeel_domain::settings::{Protocol, UpstreamStream};
use evenkeel_domain::{Known, Replica};
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whether a request may be sent again although a replica has seen it.
pub(crate) fn is_repeatable(head: &Parts, stateful: bool, grpc: bool) -> bool {
    let inference = head.method == Method::POST && route::is_inference(head.uri.path());
    let idempotent = head.method.is_idempotent() || head.headers.contains_key("idempotency-key");
    !stateful && (grpc || inference || idempotent)
}

impl Call<'_> {
    /// The request as it is sent, on whichever attempt.
    pub(crate) fn template(
        &self,
        routed: &Routed,
        head: Parts,
        body: ReadBody,
        own_deadline: Option<Duration>,
    ) -> Template {
        let settings = &routed.entry.service.settings;
        let path = head.uri.path();
        let inference = head.method == Method::POST && route::is_inference(path);
        let repeatable = is_repeatable(&head, routed.stateful, self.grpc);
        let total =
            own_deadline.map_or(settings.deadlines.total, |d| d.min(settings.deadlines.total));
        let mut headers = head.headers;
        headers::to_replica(&mut headers, false);
        headers.insert(REQUEST_ID, self.id.clone());
        forwarded(&mut headers, self.client);
        if routed.entry.within {
            headers.insert(OWNER, self.owner.clone());
        }
        let ReadBody { mut bytes, rest, memory } = body;
        let streamed = rest.is_some();
        let mut model = routed.model.clone();
        if !streamed && repeatable && self.is_fetched_as_stream(routed, path) {
            (bytes, model) = as_stream(bytes, model);
        }
        let watch = self.watch(routed, path, repeatable && !streamed, &bytes);
        if watch.is_some() {
            // What is compressed cannot be watched.
            headers.remove(http::header::ACCEPT_ENCODING);
        }
        Template {
            uri: origin_form(&head.uri),
            headers,
            body: match rest {
                None => TemplateBody::Whole(bytes, memory),
                Some(rest) => TemplateBody::Once(RefCell::new(Some((bytes, rest)))),
            },
            model,
            repeatable,
            grpc: self.grpc,
            needs_h2: self.grpc,
            head_only: head.method == Method::HEAD,
            expects_content: inference,
            // The caller of a stream in both directions may wait for the head.
            commits_at_head: (settings.protocol == Protocol::Http && !inference)
                || (self.grpc && streamed),
            shape: self.shape,
            connect: settings.deadlines.connect,
            idle: settings.deadlines.idle,
            deadline: self.started + total,
            watch,
            trace: self.trace.cloned(),
            method: head.method,
        }
    }

    /// What is to be known of a stream to carry it on.
    fn watch(&self, routed: &Routed, path: &str, held: bool, body: &[u8]) -> Option<Watch> {
        let stream = routed.stream || self.is_fetched_as_stream(routed, path);
        if !held || !stream || self.grpc || !routed.entry.service.settings.resume.enabled {
            return None;
        }
        let mut ask = Ask::read(Api::of(path)?, body)?;
        ask.unary = !routed.stream;
        Some(Watch { ask: Rc::new(ask), onward: None })
    }

    /// Whether a unary answer is fetched from the replica as a stream.
    fn is_fetched_as_stream(&self, routed: &Routed, path: &str) -> bool {
        let settings = &routed.entry.service.settings.resume;
        if routed.stream
            || quorum::is_asked(&routed.entry)
            || !settings.enabled
            || !Api::of(path).is_some_and(Api::has_choices)
        {
            return false;
        }
        match settings.upstream_stream {
            UpstreamStream::Never => false,
            UpstreamStream::Always => true,
            UpstreamStream::Auto => {
                let runs_on = |r: &Arc<Replica>| r.abilities.runs_on.get() == Known::Yes;
                routed.entry.service.pool.members().iter().any(runs_on)
            }
        }
    }
}

/// A unary request's body as one for a stream.
fn as_stream(body: Bytes, model: ModelAt) -> (Bytes, ModelAt) {
    let Some(changed) = unary::as_stream(&body).map(Bytes::from) else { return (body, model) };
    let alias = model.and_then(|(_, alias)| alias);
    let at = head::read(&changed).ok().and_then(|head| Some(head.model?.1));
    (changed, at.map(|at| (at, alias)))
}

fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) if uri.authority().is_some() => Uri::from(path.clone()),
        _ => uri.clone(),
    }
}

fn forwarded(headers: &mut http::HeaderMap, client: &ClientInfo) {
    if !client.ip.is_loopback()
        && let Ok(ip) = HeaderValue::from_str(&client.ip.to_string())
    {
        headers.append("x-forwarded-for", ip);
    }
    let proto = if client.tls { "https" } else { "http" };
    headers.entry("x-forwarded-proto").or_insert(HeaderValue::from_static(proto));
}
