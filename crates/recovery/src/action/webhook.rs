//! Tells a URL, with the incident as JSON. Its key is the `idempotency-key`: after a crash of
//! ours it may come again under the same one.

use super::{Action, Blast, Task, not_mine};
use bytes::Bytes;
use evenkeel_domain::Endpoint;
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};
use evenkeel_domain::transport::Dial;
use evenkeel_wire::{TcpDialer, TlsDialer, client, tls};
use http::{Request, header};
use http_body_util::Full;

/// Bytes of the answer that are read.
const ANSWER: usize = 64 << 10;

/// See the module.
pub(super) struct Webhook;

impl Action for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn blast(&self) -> Blast {
        Blast::Outside
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    /// Nothing shows it; the receiver can tell by the key.
    fn is_done(&self, _: &Task, _: &Seen) -> bool {
        false
    }

    fn act<'a>(&'a self, task: &'a Task, _: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::Webhook { url } = &task.step.action else { return not_mine(self.name()) };
            let body = serde_json::to_vec(&task.incident).map_err(|error| error.to_string())?;
            let status = post(url, body, &task.key).await.map_err(|why| format!("{url}: {why}"))?;
            match status {
                200..300 => Ok(format!("answered {status}")),
                _ => Err(format!("{url} answered {status}")),
            }
        })
    }
}

async fn post(url: &str, body: Vec<u8>, key: &str) -> Result<u16, String> {
    let endpoint: Endpoint = url.parse().map_err(|_| "this is no URL".to_owned())?;
    let dial = dialer(&endpoint)?;
    let request = Request::post(if endpoint.prefix.is_empty() { "/" } else { &endpoint.prefix })
        .header(header::HOST, &*endpoint.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let connection = dial.dial().await.map_err(|error| error.text)?;
    let answer = client::fetch(connection, false, request, ANSWER).await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}

fn dialer(endpoint: &Endpoint) -> Result<Box<dyn Dial>, String> {
    if !endpoint.tls {
        return Ok(Box::new(TcpDialer::new(endpoint)));
    }
    let files = tls::ClientFiles { ca: None, identity: None };
    let config = tls::client(&files, false).map_err(|error| error.to_string())?;
    let dialer = TlsDialer::new(endpoint, &endpoint.host, config);
    Ok(Box::new(dialer.map_err(|error| error.to_string())?))
}
