//! More than the replicas can start: what each is given, who waits, who is refused.

use crate::support::{Model, Up, evenkeel, get, service, until};
use evenkeel_domain::clock::now;
use serde_json::Value;
use std::time::Duration;

/// Drives Evenkeel as `args` say, and gives the report.
async fn load(up: &Up, args: &[&str]) -> Value {
    let url = up.url();
    let fixed = ["load", &url, "--json", "-m", "test"];
    let ran = evenkeel(&[&fixed, args].concat()).await;
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

/// A figure of the built-in model's own.
async fn told(model: &Model, name: &str) -> u64 {
    let page = get(&model.address, "/metrics").await.text();
    let line = page.lines().find(|line| line.starts_with(name)).expect("the model tells it");
    let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    value.expect("a number") as u64
}

async fn waiting_in(model: &Model) -> u64 {
    told(model, "vllm:num_requests_waiting").await
}

/// Answers of 150 ms, four at once.
const SLOTS: [&str; 8] =
    ["--slots", "4", "--first-token", "50", "--pace", "10", "--queue", "10000"];

#[tokio::test]
async fn a_replica_is_given_what_it_can_start_and_no_more() {
    let model = Model::start(&SLOTS).await;
    let up = Up::start(&service("", &[model.url()])).await.ready().await;
    let args = ["-c", "40", "-s", "--max-tokens", "11", "-d", "6s"];
    let driving = load(&up, &args);
    let looking = async {
        let found = up
            .replica("chat-0", |r| {
                r["limit_found"] == true && (4..=6).contains(&r["limit"].as_u64().unwrap_or(0))
            })
            .await;
        until("its own queue is empty", || async { (waiting_in(&model).await <= 1).then_some(()) })
            .await;
        let mut waiting = Vec::new();
        let until = now() + Duration::from_secs(2);
        while now() < until {
            waiting.push(waiting_in(&model).await);
        }
        (found, waiting)
    };
    let (report, (found, mut waiting)) = tokio::join!(driving, looking);
    waiting.sort_unstable();
    let median = waiting[waiting.len() / 2];
    assert!(median <= 1, "{median} in the replica's own queue, given {found}");
    let totals = &report["totals"];
    assert_eq!(totals["failed"], 0, "{totals}");
    // Four at once, six seconds: 160 answers on a machine with nothing else to do.
    assert!(totals["ok"].as_u64() >= Some(120), "{totals}");
}

#[tokio::test]
async fn a_replica_without_a_queue_is_not_held_back() {
    let model = Model::start(&["--slots", "1000", "--first-token", "200", "--pace", "50"]).await;
    let up = Up::start(&service("", &[model.url()])).await.ready().await;
    let args = ["-c", "200", "-s", "--max-tokens", "11", "-d", "3s", "--warm-up", "2500ms"];
    let report = load(&up, &args).await;
    let totals = &report["totals"];
    assert_eq!(totals["failed"], 0, "{totals}");
    let replica = up.replica("chat-0", |_| true).await;
    assert!(replica["limit"].as_u64() >= Some(200), "{replica}");
    let p99 = report["ttft"]["p99"].as_f64().expect("streams were timed");
    assert!(p99 < 1000.0, "a first token took {p99} ms");
}
