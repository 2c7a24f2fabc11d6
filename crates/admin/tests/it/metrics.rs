//! The exposition, read by a parser as strict as Prometheus' own about what matters.

use crate::http::start;
use std::collections::{HashMap, HashSet};

struct Parsed {
    kinds: HashMap<String, String>,
    samples: Vec<(String, String, f64)>,
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Checks form: types before samples, known names, no series twice.
fn parse(text: &str, counters_have_suffix_in_type: bool) -> Parsed {
    let mut parsed = Parsed { kinds: HashMap::new(), samples: Vec::new() };
    let mut series = HashSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(is_name(name), "{line}");
            let again = parsed.kinds.insert(name.into(), kind.into());
            assert!(again.is_none(), "twice: {line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        assert!(!line.starts_with('#'), "{line}");
        let (left, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(left.to_owned()), "twice: {line}");
        let (name, labels) = left
            .split_once('{')
            .map_or((left, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
        let known = ["_bucket", "_sum", "_count", "_total", ""].iter().any(|suffix| {
            name.strip_suffix(suffix).is_some_and(|family| match parsed.kinds.get(family) {
                Some(kind) if kind == "histogram" => ["_bucket", "_sum", "_count"].contains(suffix),
                Some(kind) if kind == "counter" => {
                    name.ends_with("_total") && suffix.is_empty() == counters_have_suffix_in_type
                }
                Some(_) => suffix.is_empty(),
                None => false,
            })
        });
        assert!(known, "no type for {line}");
        parsed.samples.push((name.into(), labels.into(), value.parse().unwrap()));
    }
    parsed
}

impl Parsed {
    fn value(&self, name: &str, labels: &str) -> f64 {
        let found = self.samples.iter().find(|(n, l, _)| n == name && l == labels);
        found.unwrap_or_else(|| panic!("no {name}{{{labels}}}")).2
    }
}

#[tokio::test]
async fn every_family_reads_its_counter() {
    let server = start().await;
    let answer = server.get("/metrics").await;
    assert!(answer.text.contains("content-type: text/plain; version=0.0.4"));
    let metrics = parse(answer.body(), true);
    let cases = [
        ("evenkeel_requests_total", r#"service="chat",outcome="ok""#, 99.0),
        ("evenkeel_requests_total", r#"service="chat",outcome="stalled""#, 1.0),
        ("evenkeel_attempts_total", r#"service="chat",replica="chat-1",outcome="stalled""#, 1.0),
        ("evenkeel_request_duration_seconds_count", r#"service="chat""#, 99.0),
        ("evenkeel_first_byte_seconds_bucket", r#"le="+Inf",service="chat""#, 99.0),
        ("evenkeel_replica_first_byte_seconds_count", r#"service="chat",replica="chat-0""#, 99.0),
        ("evenkeel_replica_health", r#"service="chat",replica="chat-1",state="suspect""#, 1.0),
        ("evenkeel_replica_health", r#"service="chat",replica="chat-1",state="healthy""#, 0.0),
        ("evenkeel_replica_in_flight", r#"service="chat",replica="chat-0""#, 1.0),
        ("evenkeel_replica_restarts_total", r#"service="chat",replica="chat-1""#, 7.0),
        ("evenkeel_requests_active", r#"service="chat""#, 1.0),
        ("evenkeel_check_state", r#"check="disk",subject="""#, 2.0),
        ("evenkeel_check_state", r#"check="gpu",subject="GPU 0""#, 3.0),
        ("evenkeel_check_value", r#"check="disk",subject="",measure="used""#, 0.95),
        ("evenkeel_requests_held", r#"service="chat""#, 0.0),
        ("evenkeel_refused_total", r#"service="chat",tier="core",reason="overloaded""#, 2.0),
        ("evenkeel_overloaded", r#"service="chat",tier="best_effort""#, 1.0),
        ("evenkeel_overloaded", r#"service="chat",tier="core""#, 0.0),
        ("evenkeel_queue_wait_seconds_count", r#"service="chat""#, 1.0),
        ("evenkeel_replica_limit", r#"service="chat",replica="chat-0""#, 4.0),
        ("evenkeel_replica_waiting", r#"service="chat",replica="chat-0""#, 3.0),
        ("evenkeel_retries_total", r#"service="chat""#, 4.0),
        ("evenkeel_replicas_open", r#"service="chat""#, 1.0),
        ("evenkeel_build_info", r#"version="0.1.0""#, 1.0),
        ("evenkeel_connections", "", 12.0),
        ("evenkeel_config_last_reload_successful", "", 1.0),
    ];
    for (name, labels, expected) in cases {
        let value = metrics.value(name, labels);
        assert!((value - expected).abs() < 1e-9, "{name}{{{labels}}} is {value}");
    }
    let sum = metrics.value("evenkeel_request_duration_seconds_sum", r#"service="chat""#);
    assert!((sum - 89.1).abs() < 0.1, "{sum}");
    assert!(metrics.value("process_resident_memory_bytes", "") > 1e5);
    assert!(metrics.value("process_start_time_seconds", "") > 1e9);
    let _ = metrics.value("process_cpu_seconds_total", "");
}

#[tokio::test]
async fn buckets_rise_to_the_count() {
    let server = start().await;
    let metrics = parse(server.get("/metrics").await.body(), true);
    let name = "evenkeel_request_duration_seconds_bucket";
    let buckets: Vec<f64> = metrics
        .samples
        .iter()
        .filter(|(n, labels, _)| n == name && labels.ends_with(r#"service="chat""#))
        .map(|(_, _, value)| *value)
        .collect();
    assert!(buckets.len() > 20 && buckets.is_sorted(), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&99.0));
}

#[tokio::test]
async fn prometheus_is_given_open_metrics() {
    let server = start().await;
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = server.ask("GET /metrics", accept, "").await;
    assert!(answer.text.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.body().ends_with("# EOF\n"));
    let metrics = parse(answer.body(), false);
    assert_eq!(metrics.kinds["evenkeel_requests"], "counter");
}
