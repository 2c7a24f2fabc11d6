//! Whether a path answers 2xx, with an expected text in it.

use super::{Asking, Probe, connect, failure};
use ::http::{HeaderName, HeaderValue, Method, Request, Response};
use bytes::Bytes;
use evenkeel_domain::Replica;
use evenkeel_domain::health::ProbeFailure;
use evenkeel_wire::client;
use http_body_util::Full;

/// Health answers are small; more is not read.
const ANSWER_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Http {
    path: String,
    expect: String,
}

impl Http {
    pub(super) fn new(path: &str, expect: &str) -> Self {
        Self { path: path.to_owned(), expect: expect.to_owned() }
    }
}

impl Probe for Http {
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a> {
        Box::pin(async move {
            let response = fetch(replica, Method::GET, &self.path, Bytes::new()).await?;
            good(&self.path, &response)?;
            expected(&self.path, &self.expect, &response)
        })
    }
}

/// Sends one request to a replica as a probe.
pub(super) async fn fetch(
    replica: &Replica,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Bytes>, ProbeFailure> {
    fetch_up_to(ANSWER_MAX, replica, method, path, body).await
}

/// The same for a longer answer.
pub(super) async fn fetch_up_to(
    limit: usize,
    replica: &Replica,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Bytes>, ProbeFailure> {
    let connection = connect(replica).await?;
    let endpoint = &replica.id.endpoint;
    let path = format!("{}{path}", endpoint.prefix);
    let h2 = replica.id.h2 || connection.h2;
    let uri = match h2 {
        true if endpoint.tls => format!("https://{}{path}", endpoint.authority),
        true => format!("http://{}{path}", endpoint.authority),
        false => path.clone(),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().map_err(|e| failure(format!("{path}: {e}")))?;
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&endpoint.authority)
        && !h2
    {
        headers.insert("host", host);
    }
    headers.insert("user-agent", HeaderValue::from_static("evenkeel-probe"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, value) in &replica.id.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name), HeaderValue::from_str(value.expose()))
        {
            headers.insert(name, value);
        }
    }
    client::fetch(connection, h2, request, limit).await.map_err(|e| failure(format!("{path}: {e}")))
}

/// Whether the status is one of success.
pub(super) fn good(path: &str, response: &Response<Bytes>) -> Result<(), ProbeFailure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    Err(ProbeFailure {
        refused: false,
        not_ready: status.as_u16() == 503,
        silent: false,
        text: format!("{path} answered {status}").into(),
    })
}

/// Whether the answer holds the expected text.
pub(super) fn expected(
    path: &str,
    expect: &str,
    response: &Response<Bytes>,
) -> Result<(), ProbeFailure> {
    let body = String::from_utf8_lossy(response.body());
    if body.contains(expect) {
        return Ok(());
    }
    let seen: String = body.chars().take(80).collect();
    Err(failure(format!("{path}: expected `{expect}` in the answer, got `{seen}`")))
}
