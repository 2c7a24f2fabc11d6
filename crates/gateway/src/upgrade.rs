//! WebSocket upgrades: passed through as they are, once, to one replica.

use crate::admit::concurrency::Work;
use crate::attempt::guard::{AttemptGuard, RequestGuard};
use crate::body::relay::Relay;
use crate::body::{OutBody, UpBody};
use crate::error::Refusal;
use crate::exchange::pick_any;
use crate::handle::Call;
use crate::headers;
use crate::route::Entry;
use crate::trace::parent::TRACEPARENT;
use crate::upstream::{AnswerBody, send_upgrade};
use bytes::Bytes;
use evenkeel_domain::outcome::ReplicaFault;
use evenkeel_domain::{Outcome, clock};
use http::header::{CONNECTION, HOST, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::rc::Rc;
use std::sync::Arc;

/// The client's side of an upgrade it asks for, with the protocol's name.
pub(crate) struct Wanted {
    on: OnUpgrade,
    protocol: HeaderValue,
}

/// Whether a request asks for an upgrade.
pub(crate) fn wanted(request: &mut Request<Incoming>) -> Option<Wanted> {
    if request.version() != Version::HTTP_11 || !request.headers().contains_key(CONNECTION) {
        return None;
    }
    let protocol = request.headers().get(UPGRADE)?.clone();
    // h2c by upgrade is obsolete (RFC 9113, 3.1); prior knowledge is served.
    if protocol.as_bytes().eq_ignore_ascii_case(b"h2c") {
        return None;
    }
    Some(Wanted { on: hyper::upgrade::on(request), protocol })
}

/// Sends the request to one replica and, when it agrees, joins both connections.
pub(crate) async fn relay(
    call: &mut Call<'_>,
    entry: &Arc<Entry>,
    head: &Parts,
    wanted: Wanted,
) -> Result<Response<OutBody>, Refusal> {
    let (pool, trace) = (&entry.service.pool, call.trace);
    let counted =
        RequestGuard::enter(entry.clone(), Work::Unknown, clock::now(), None, trace.cloned());
    let counted = Rc::new(counted.billed(call.bill.take()));
    let Some(guard) = pick_any(call.worker, entry, &counted, call.client.source) else {
        counted.settle(Outcome::Backpressure);
        let why = "no replica is ready".into();
        return Err(Refusal::Unavailable { service: pool.name.to_string(), why });
    };
    let guard = guard.traced(trace);
    let replica = guard.replica().clone();
    let mut request = Request::new(UpBody::Full(None));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    let fields = request.headers_mut();
    headers::to_replica(fields, false);
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, wanted.protocol);
    if let Ok(host) = HeaderValue::from_str(&replica.id.endpoint.authority) {
        fields.insert(HOST, host);
    }
    if let Some(parent) = trace.and_then(|t| t.header_for(replica.id.key)) {
        fields.insert(TRACEPARENT, parent);
    }
    headers::add_own(fields, &replica.id.headers);
    let connect = entry.service.settings.deadlines.connect;
    match send_upgrade(&replica, connect, request).await {
        Err(failure) => {
            let outcome = failure.outcome;
            guard.settle(outcome);
            counted.settle(outcome);
            Err(Refusal::NotRepeatable(outcome))
        }
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok(join(response, wanted.on, guard, counted))
        }
        Ok(response) => Ok(declined(response, guard, counted)),
    }
}

fn join(
    mut response: Response<Incoming>,
    client: OnUpgrade,
    guard: AttemptGuard,
    request: Rc<RequestGuard>,
) -> Response<OutBody> {
    request.answered(response.status());
    guard.begun();
    let replica = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(async move {
        let (Ok(client), Ok(replica)) = tokio::join!(client, replica) else {
            let outcome = Outcome::ReplicaFault(ReplicaFault::Truncated);
            guard.settle(outcome);
            request.settle(outcome);
            return;
        };
        let (mut client, mut replica) = (TokioIo::new(client), TokioIo::new(replica));
        // How a WebSocket ends is between its two ends.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut replica).await;
        guard.settle(Outcome::Ok);
        request.settle(Outcome::Ok);
    });
    let (head, _) = response.into_parts();
    Response::from_parts(head, OutBody::Empty)
}

/// The replica does not upgrade: its answer is the client's.
fn declined(
    response: Response<Incoming>,
    guard: AttemptGuard,
    request: Rc<RequestGuard>,
) -> Response<OutBody> {
    let (mut head, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut head.headers);
    request.answered(head.status);
    let relay = Relay::new(Bytes::new(), AnswerBody::H2(body), guard, request, Outcome::Ok);
    Response::from_parts(head, OutBody::Relay(Box::new(relay)))
}
