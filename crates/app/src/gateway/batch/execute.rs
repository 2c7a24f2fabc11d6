//! Lines, answered by this gateway's own workers: routed, balanced, retried and cut off as a
//! client's requests are, but behind them.

use bytes::Bytes;
use evenkeel_batch::{Call, Calling, Done, Execute};
use evenkeel_domain::durable::OWNER_HEADER;
use evenkeel_domain::transport::Dial;
use evenkeel_gateway::Shared;
use evenkeel_wire::client;
use evenkeel_wire::within::Dialer;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// This gateway, as what answers lines.
pub(super) struct Gateway {
    shared: Arc<Shared>,
    /// One for each worker, taken in turn.
    workers: Vec<Dialer>,
    next: AtomicUsize,
}

impl Gateway {
    pub(super) fn new(shared: Arc<Shared>, workers: Vec<Dialer>) -> Self {
        Self { shared, workers, next: AtomicUsize::new(0) }
    }
}

impl Execute for Gateway {
    fn call(&self, call: Call) -> Calling {
        let turn = self.next.fetch_add(1, Relaxed);
        let worker = self.workers.get(turn % self.workers.len().max(1)).cloned();
        Box::pin(async move {
            let Some(worker) = worker else { return later() };
            let within = call.within;
            // A gateway that breaks off is on its way out: the next one answers the line.
            let asked = tokio::time::timeout(within, ask(&worker, call)).await;
            asked.ok().flatten().unwrap_or_else(later)
        })
    }

    fn accepts(&self, path: &str) -> bool {
        self.shared.table.load().infers(path)
    }
}

fn later() -> Done {
    Done::Later { retry_after: None }
}

/// One request on a connection of its own: dropping it closes that, which is how the worker
/// learns that nobody waits.
async fn ask(worker: &Dialer, call: Call) -> Option<Done> {
    let max = call.max_answer;
    let request = request(call)?;
    let connection = worker.dial().await.ok()?;
    let (response, _open) = client::open(connection, false, request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = read(body, max).await?;
    Some(Done::Answer {
        status: head.status.as_u16(),
        request_id: text(&head.headers, "x-request-id"),
        retry_after: retry_after(&head.headers),
        body,
    })
}

fn request(call: Call) -> Option<Request<Full<Bytes>>> {
    Request::post(&*call.path)
        .header(HOST, "evenkeel")
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", call.idempotency_key)
        .header(OWNER_HEADER, call.owner.as_str())
        .body(Full::new(call.body.into()))
        .ok()
}

/// The body, cut off just behind what is wanted; `None` when it broke off.
async fn read(mut body: Incoming, max: usize) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            let room = (max + 1).saturating_sub(read.len());
            read.extend_from_slice(&data[..data.len().min(room)]);
            if read.len() > max {
                break;
            }
        }
    }
    Some(read)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
}
