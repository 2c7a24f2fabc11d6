//! From `[trace]` to what exports spans.

use super::file::TraceConfig;
use super::replicas::read_secret;
use evenkeel_domain::Endpoint;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::tls::{self, ClientFiles};
use evenkeel_wire::{TcpDialer, TlsDialer};
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

/// Where spans go.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Opens connections to it.
    pub(crate) dial: Arc<dyn Dial>,
    /// `host[:port]` as the `host` header wants it.
    pub(crate) authority: Box<str>,
    /// Path that takes spans.
    pub(crate) path: String,
    /// Header fields of each export.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The collector that is configured, or all that is wrong with it: (key, message).
pub(crate) fn collector(config: &TraceConfig) -> Result<Option<Collector>, Vec<(String, String)>> {
    let mut problems = Vec::new();
    if !(0.0..=1.0).contains(&config.sample) {
        problems.push(("trace.sample".into(), "a share is from 0 to 1".into()));
    }
    let headers = headers(config, &mut problems);
    let place = config.otlp.as_deref().and_then(|url| {
        place(url, config).map_err(|text| problems.push(("trace.otlp".into(), text))).ok()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(place.map(|(endpoint, dial)| {
        // Many copy the whole URL out of a collector's manual.
        let prefix = endpoint.prefix.strip_suffix(SPANS).unwrap_or(&endpoint.prefix);
        let path = format!("{prefix}{SPANS}");
        Collector { dial, authority: endpoint.authority, path, headers }
    }))
}

/// Where OTLP over HTTP takes spans, below a collector's base URL.
const SPANS: &str = "/v1/traces";

fn place(url: &str, config: &TraceConfig) -> Result<(Endpoint, Arc<dyn Dial>), String> {
    let endpoint = url
        .parse::<Endpoint>()
        .map_err(|_| format!("`{url}` is no collector's URL; try \"http://127.0.0.1:4318\""))?;
    if !endpoint.tls {
        let dial = Arc::new(TcpDialer::new(&endpoint));
        return Ok((endpoint, dial));
    }
    let files = ClientFiles { ca: config.ca.clone(), identity: None };
    let client = tls::client(&files, false).map_err(|e| e.to_string())?;
    let dial = TlsDialer::new(&endpoint, &endpoint.host, client)
        .map_err(|e| format!("`{}`: {e}", endpoint.host))?;
    Ok((endpoint, Arc::new(dial)))
}

fn headers(
    config: &TraceConfig,
    problems: &mut Vec<(String, String)>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for (name, file) in &config.headers {
        let value = read_secret(file).and_then(|secret| {
            let value = HeaderValue::from_str(secret.expose());
            value.map_err(|_| format!("{}: its first line is no header value", file.display()))
        });
        match (HeaderName::try_from(name), value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                fields.push((name, value));
            }
            (Err(_), _) => {
                problems.push(("trace.headers".into(), format!("`{name}` is no header name")));
            }
            (_, Err(text)) => problems.push(("trace.headers".into(), text)),
        }
    }
    fields
}
