//! Where a replica tells of its load.

use super::format::{self, Load};
use crate::authority::Target;
use crate::probe::http::fetch_up_to;
use bytes::Bytes;
use evenkeel_domain::Endpoint;
use evenkeel_domain::health::ProbeFailure;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::{TcpDialer, client};
use http::{Request, Response};
use http_body_util::Full;

/// An engine with many models and histograms tells this much at most.
const ANSWER_MAX: usize = 1 << 20;

/// One place to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `/metrics` on a port of its own.
    MetricsAt(u16),
    /// `/metrics`: vLLM, SGLang, TGI, llama.cpp with `--metrics`.
    Metrics,
    /// `/slots`: llama.cpp.
    Slots,
    /// `/get_load`: SGLang without metrics.
    Load,
}

impl Source {
    /// Where to look, in this order.
    pub(super) fn candidates(target: &Target) -> Vec<Self> {
        match target.settings.concurrency.metrics_port {
            Some(port) => vec![Self::MetricsAt(port)],
            None => vec![Self::Metrics, Self::Slots, Self::Load],
        }
    }

    /// What it tells; `None` when it has no such place or tells nothing of its load.
    pub(super) async fn ask(self, target: &Target) -> Result<Option<Load>, ProbeFailure> {
        let (response, read): (_, fn(&str) -> Option<Load>) = match self {
            Self::MetricsAt(port) => (at_port(target, port).await?, format::metrics),
            Self::Metrics => (own(target, "/metrics").await?, format::metrics),
            Self::Slots => (own(target, "/slots").await?, format::slots),
            Self::Load => (own(target, "/get_load").await?, format::sglang_load),
        };
        if !response.status().is_success() {
            return Ok(None);
        }
        Ok(std::str::from_utf8(response.body()).ok().and_then(read))
    }
}

async fn own(target: &Target, path: &str) -> Result<Response<Bytes>, ProbeFailure> {
    fetch_up_to(ANSWER_MAX, &target.replica, http::Method::GET, path, Bytes::new()).await
}

/// Asks another port of the same host, in plain HTTP and without credentials.
async fn at_port(target: &Target, port: u16) -> Result<Response<Bytes>, ProbeFailure> {
    let failed = |text: String| ProbeFailure {
        refused: false,
        not_ready: false,
        silent: false,
        text: text.into(),
    };
    let host = &target.replica.id.endpoint.host;
    let authority: Box<str> = match host.contains(':') {
        true => format!("[{host}]:{port}").into(),
        false => format!("{host}:{port}").into(),
    };
    let endpoint = Endpoint { tls: false, host: host.clone(), port, prefix: "".into(), authority };
    let dialed = TcpDialer::new(&endpoint).dial().await;
    let connection = dialed.map_err(|error| failed(error.text))?;
    let request = Request::get("/metrics")
        .header("host", &*endpoint.authority)
        .header("user-agent", "evenkeel-probe")
        .body(Full::new(Bytes::new()))
        .map_err(|error| failed(error.to_string()))?;
    client::fetch(connection, false, request, ANSWER_MAX)
        .await
        .map_err(|error| failed(error.to_string()))
}
