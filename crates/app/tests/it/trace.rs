//! Traces: who is told which span, and what a collector hears of it.

use crate::support::{Up, alive, ask, chat, service, until, until_so};
use evenkeel_testkit::{Behaviour, Replica, tempdir};
use serde_json::{Map, Value};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Evenkeel that exports to `collector`; `more` are lines of `[trace]`.
async fn traced(collector: &str, more: &str, replicas: &[Replica]) -> Up {
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    let trace = format!("[trace]\notlp = \"{collector}\"\n{more}\n");
    Up::with(&trace, &service("", &urls)).await.ready().await
}

/// All spans a collector took after so many exports, their attributes as one object.
fn spans(collector: &Replica, after: usize) -> Vec<Value> {
    let taken = collector.requests();
    let whole = taken.iter().skip(after).filter(|request| !request.body.is_empty());
    whole.flat_map(|request| flat(&request.body)).collect()
}

fn flat(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).expect("an export is JSON");
    let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let mut spans = spans.as_array().expect("an export has spans").clone();
    for span in &mut spans {
        let attributes = span["attributes"].as_array().expect("a span has attributes");
        let pairs = attributes.iter().map(|a| {
            let value = a["value"].as_object().and_then(|v| v.values().next().cloned());
            (a["key"].as_str().unwrap_or_default().to_owned(), value.unwrap_or_default())
        });
        span["attributes"] = Value::Object(pairs.collect::<Map<_, _>>());
    }
    spans
}

/// `traceparent` as the last request that had one brought it, taken apart. What the gateway
/// asks by itself to know a replica has none.
fn told(replica: &Replica) -> Vec<String> {
    let all = replica.requests();
    let field = all.iter().rev().find_map(|r| r.headers.get("traceparent"));
    let field = field.expect("a span is told");
    field.to_str().expect("it is text").split('-').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_request_and_its_attempts_reach_the_collector() {
    let collector = Replica::start(Behaviour::Good).await;
    // The first export is turned away and comes again.
    collector.script([Behaviour::Status { status: 503, retry_after: None }]);
    let replicas = [Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await];
    let dir = tempdir();
    let key = dir.path().join("key");
    std::fs::write(&key, "Bearer of spans\n").expect("a secret can be written");
    let settings = format!(
        "sample = 0.0\nservice_name = \"front\"\nheaders = {{ authorization = \"{}\" }}",
        key.display()
    );
    let up = traced(&collector.url(), &settings, &replicas).await;
    for replica in &replicas {
        replica.script([Behaviour::Status { status: 500, retry_after: None }]);
    }
    let headers =
        format!("traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: a=1\r\nx-api-key: secret\r\n");
    let answer = ask(&up.clients, &headers, &chat("hello", 4, false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // One of them failed first: what it was told differs from what the other was.
    let seen: Vec<_> = replicas.iter().filter(|r| !r.requests().is_empty()).collect();
    assert_eq!(seen.len(), 2, "both were asked");
    let told: Vec<_> = seen.iter().map(|r| told(r)).collect();
    let spans = until("the request's span is delivered, which is its last", || async {
        let spans = spans(&collector, 1);
        spans.iter().any(|span| span["kind"] == 2).then_some(spans)
    })
    .await;
    let requests = collector.requests();
    assert_eq!(requests[0].body, requests[1].body, "a refused export is sent again as it was");
    assert_eq!(requests[1].path, "/v1/traces");
    assert_eq!(requests[1].headers["authorization"], "Bearer of spans");
    let (attempts, whole): (Vec<_>, Vec<_>) = spans.iter().partition(|s| s["kind"] == 3);
    let [whole] = whole[..] else { panic!("one span for the request: {spans:?}") };
    assert_eq!((&whole["traceId"], &whole["parentSpanId"]), (&TRACE.into(), &CALLER.into()));
    assert_eq!(whole["name"], "POST /v1/chat/completions");
    let expected = [
        ("http.request.method", "POST"),
        ("url.path", "/v1/chat/completions"),
        ("http.response.status_code", "200"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "test"),
        ("server.address", "test"),
        ("evenkeel.service", "chat"),
        ("evenkeel.outcome", "ok"),
    ];
    for (key, value) in expected {
        assert_eq!(whole["attributes"][key], value, "{key}: {whole}");
    }
    assert_eq!(whole["attributes"]["evenkeel.attempts"], attempts.len().to_string());
    assert!(attempts.len() > 1, "{spans:?}");
    assert!(attempts.iter().all(|a| a["parentSpanId"] == whole["spanId"]));
    for parts in &told {
        assert_eq!((&*parts[1], &*parts[3]), (TRACE, "01"));
        let attempt = attempts.iter().find(|a| a["spanId"] == *parts[2]);
        assert!(attempt.is_some(), "the replica was told of a span that nobody sent: {parts:?}");
    }
    let outcome = |a: &Value| a["attributes"]["evenkeel.outcome"].clone();
    assert!(attempts.iter().any(|a| outcome(a) == "server_error" && a["status"]["code"] == 2));
    let last =
        seen.iter().flat_map(|r| r.requests()).find(|r| r.headers.contains_key("tracestate"));
    assert_eq!(last.expect("tracestate is passed on").headers["tracestate"], "a=1");
    let sent = String::from_utf8_lossy(&requests[1].body).into_owned();
    assert!(sent.contains("front") && !sent.contains("secret") && !sent.contains("hello"));
}

#[tokio::test]
async fn what_a_client_does_not_record_is_recorded_by_share() {
    let collector = Replica::start(Behaviour::Good).await;
    let replicas = [Replica::start(Behaviour::Good).await];
    let up = traced(&collector.url(), "sample = 1.0", &replicas).await;
    let nonsense = "traceparent: 00-nonsense-01\r\ntracestate: a=1\r\n";
    assert_eq!(ask(&up.clients, nonsense, &chat("a", 2, true)).await.status, 200);
    let replaced = told(&replicas[0]);
    assert!(replaced[1].len() == 32 && replaced[3] == "03", "{replaced:?}");
    assert_eq!(ask(&up.clients, "", "no json").await.status, 400);
    let spans = until("both requests' spans", || async {
        let spans = spans(&collector, 0);
        (spans.len() >= 3).then_some(spans)
    })
    .await;
    let find = |status: &str| {
        let is = |s: &&Value| s["attributes"]["http.response.status_code"] == status;
        spans.iter().find(is).unwrap_or_else(|| panic!("no span with {status}: {spans:?}"))
    };
    assert_eq!(find("200")["traceId"], replaced[1]);
    assert!(find("200").get("parentSpanId").is_none());
    assert_eq!(find("400")["attributes"]["evenkeel.outcome"], "client_fault");
}

#[tokio::test]
async fn the_last_spans_are_delivered_when_it_stops() {
    let collector = Replica::start(Behaviour::Good).await;
    let replicas = [Replica::start(Behaviour::Good).await];
    let up = traced(&collector.url(), "sample = 1.0", &replicas).await;
    assert_eq!(ask(&up.clients, "", &chat("a", 2, false)).await.status, 200);
    up.cli(&["stop"]).await;
    until("the spans are delivered", || async { (spans(&collector, 0).len() == 2).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_collector_that_is_gone_holds_nothing_up() {
    let gone = Replica::start(Behaviour::Good).await;
    let url = gone.url();
    drop(gone);
    let replicas = [Replica::start(Behaviour::Good).await];
    let up = traced(&url, "sample = 1.0", &replicas).await;
    for _ in 0..20 {
        assert_eq!(ask(&up.clients, "", &chat("a", 2, false)).await.status, 200);
    }
    let pid = up.process.id();
    up.cli(&["stop"]).await;
    until_so("it ends without waiting for the collector", || !alive(pid)).await;
}

#[tokio::test]
async fn without_a_collector_fields_pass_untouched() {
    let replicas = [Replica::start(Behaviour::Good).await];
    let up = Up::start(&service("", &[replicas[0].url()])).await.ready().await;
    let headers = "traceparent: 00-anything\r\ntracestate: a=1\r\n";
    assert_eq!(ask(&up.clients, headers, &chat("a", 2, false)).await.status, 200);
    assert_eq!(told(&replicas[0]), ["00", "anything"]);
}

#[tokio::test]
async fn a_collector_that_comes_later_is_taken_over() {
    let collector = Replica::start(Behaviour::Good).await;
    let replicas = [Replica::start(Behaviour::Good).await];
    let services = service("", &[replicas[0].url()]);
    let up = Up::start(&services).await.ready().await;
    up.rewrite(&format!("[trace]\notlp = \"{}\"\nsample = 1.0\n{services}", collector.url()));
    until("a new gateway records", || async {
        assert_eq!(ask(&up.clients, "", &chat("a", 2, false)).await.status, 200);
        (!spans(&collector, 0).is_empty()).then_some(())
    })
    .await;
}
