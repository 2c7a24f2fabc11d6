//! Spans as OTLP/JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`). Pure.
//!
//! By hand, because the part that is needed is four nested objects of a stable format:
//! `opentelemetry-proto` brings the OpenTelemetry SDK, prost, a second and older `rand` and
//! some twenty crates more, to the same bytes.

use evenkeel_domain::Outcome;
use evenkeel_gateway::trace::{AttemptSpan, RequestSpan, Span, Work};
use serde::{Serialize, Serializer};

/// The body of one export.
pub(super) fn encode(spans: &[Span], service_name: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let export = Export {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: vec![
                    text("service.name", service_name),
                    text("service.version", version),
                    number("process.pid", std::process::id()),
                ],
            },
            scope_spans: [ScopeSpans {
                scope: Scope { name: "evenkeel", version },
                spans: spans.iter().map(SpanJson::new).collect(),
            }],
        }],
    };
    // Strings and numbers into memory: there is nothing that could fail.
    serde_json::to_vec(&export).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanJson<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    #[serde(serialize_with = "hex32")]
    trace_id: u128,
    #[serde(serialize_with = "hex16")]
    span_id: u64,
    #[serde(serialize_with = "hex16_option", skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<u64>,
    name: String,
    kind: u8,
    #[serde(serialize_with = "decimal")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "decimal")]
    end_time_unix_nano: u64,
    attributes: Vec<Attribute<'a>>,
    status: Status,
}

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

/// `STATUS_CODE_ERROR`; what went well is left unset.
const ERROR: u8 = 2;

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    /// 64-bit numbers are strings in Protobuf's JSON.
    #[serde(serialize_with = "decimal")]
    IntValue(u64),
}

fn text<'a>(key: &'static str, value: &'a str) -> Attribute<'a> {
    Attribute { key, value: Value::StringValue(value) }
}

fn number(key: &'static str, value: impl Into<u64>) -> Attribute<'static> {
    Attribute { key, value: Value::IntValue(value.into()) }
}

fn decimal<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

fn hex32<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{id:032x}"))
}

fn hex16<S: Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{id:016x}"))
}

fn hex16_option<S: Serializer>(id: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    hex16(&id.unwrap_or_default(), to)
}

impl<'a> SpanJson<'a> {
    fn new(span: &'a Span) -> Self {
        let (name, kind, attributes, failed) = match &span.work {
            Work::Request(work) => (name(work), SERVER, of_request(work), has_failed(work)),
            Work::Attempt(work) => {
                let fine =
                    matches!(work.outcome, Outcome::Ok | Outcome::ClientFault | Outcome::Cancelled);
                ("attempt".into(), CLIENT, of_attempt(work), !fine)
            }
        };
        let mut span = Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_id,
            name,
            kind,
            start_time_unix_nano: span.start_unix_nanos,
            end_time_unix_nano: span.end_unix_nanos,
            attributes,
            status: Status { code: failed.then_some(ERROR) },
        };
        if failed && let Some(outcome) = span.outcome() {
            span.attributes.push(text("error.type", outcome));
        }
        span
    }

    fn outcome(&self) -> Option<&'a str> {
        self.attributes.iter().find_map(|a| match (a.key, &a.value) {
            ("evenkeel.outcome", Value::StringValue(outcome)) => Some(*outcome),
            _ => None,
        })
    }
}

/// The method, and the path where there are few of them: names are to be grouped by.
fn name(work: &RequestSpan) -> String {
    match work.operation {
        Some(_) => format!("{} {}", work.method, work.path),
        None => work.method.to_string(),
    }
}

fn has_failed(work: &RequestSpan) -> bool {
    work.outcome.blames_replica() || work.status.is_some_and(|status| status >= 500)
}

fn of_request(work: &RequestSpan) -> Vec<Attribute<'_>> {
    let mut all = vec![
        text("http.request.method", work.method.as_str()),
        text("url.path", &work.path),
        text("evenkeel.outcome", work.outcome.label()),
        number("evenkeel.attempts", work.attempts),
    ];
    let optional = [
        ("gen_ai.operation.name", work.operation),
        ("gen_ai.request.model", work.model.as_deref()),
        ("server.address", work.server.as_deref()),
        ("evenkeel.service", work.service.as_deref()),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    all.extend(work.status.map(|status| number("http.response.status_code", status)));
    all
}

fn of_attempt(work: &AttemptSpan) -> Vec<Attribute<'_>> {
    vec![
        text("http.request.method", work.method.as_str()),
        text("server.address", &work.host),
        number("server.port", work.port),
        text("evenkeel.replica", &work.replica),
        text("evenkeel.outcome", work.outcome.label()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;

    #[test]
    fn what_a_collector_reads() {
        let spans = [Span {
            trace_id: 0xabc,
            span_id: 1,
            parent_id: Some(2),
            start_unix_nanos: 1_700_000_000_000_000_001,
            end_unix_nanos: 1_700_000_000_000_000_002,
            work: Work::Attempt(AttemptSpan {
                replica: "chat-0".into(),
                host: "10.0.0.5".into(),
                port: 8000,
                method: Method::POST,
                outcome: Outcome::Backpressure,
            }),
        }];
        let sent: serde_json::Value = serde_json::from_slice(&encode(&spans, "s")).unwrap();
        let resource = &sent["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0],
            json!({"key": "service.name", "value": {"stringValue": "s"}})
        );
        assert_eq!(
            resource["scopeSpans"][0]["spans"][0],
            json!({
                "traceId": "00000000000000000000000000000abc",
                "spanId": "0000000000000001",
                "parentSpanId": "0000000000000002",
                "name": "attempt",
                "kind": 3,
                "startTimeUnixNano": "1700000000000000001",
                "endTimeUnixNano": "1700000000000000002",
                "attributes": [
                    {"key": "http.request.method", "value": {"stringValue": "POST"}},
                    {"key": "server.address", "value": {"stringValue": "10.0.0.5"}},
                    {"key": "server.port", "value": {"intValue": "8000"}},
                    {"key": "evenkeel.replica", "value": {"stringValue": "chat-0"}},
                    {"key": "evenkeel.outcome", "value": {"stringValue": "backpressure"}},
                    {"key": "error.type", "value": {"stringValue": "backpressure"}},
                ],
                "status": {"code": 2},
            })
        );
    }
}
