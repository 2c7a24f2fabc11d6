//! More than the replicas can start: what each is given, who waits, who is refused.

use crate::support::{Model, Up, ask, chat, evenkeel, get, service, until};
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
    // All may wait: nothing is refused here.
    let patient = "queue = { objective = \"60s\", max_wait = \"60s\" }";
    let up = Up::start(&service(patient, &[model.url()])).await.ready().await;
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

/// Best-effort requests are those with this header.
const ROUTE: &str = "queue = { objective = \"1s\" }\n[[service.route]]\npath = \"/\"\nheaders = \
                     { x-class = \"batch\" }\ntier = \"best_effort\"";

#[tokio::test]
async fn best_effort_is_refused_at_once_and_core_is_served() {
    let models = [Model::start(&SLOTS).await, Model::start(&SLOTS).await];
    let urls: Vec<_> = models.iter().map(Model::url).collect();
    let up = Up::start(&service(ROUTE, &urls)).await.ready().await;
    // Answers of 150 ms in eight slots: 53 a second. Two thirds of a fifth of what comes.
    let flood = ["-s", "--max-tokens", "11", "--rate", "200", "-d", "8s", "-H", "x-class: batch"];
    let core = ["-s", "--max-tokens", "11", "-c", "4", "-d", "4s", "--warm-up", "3s"];
    let (flood, core) = tokio::join!(load(&up, &flood), load(&up, &core));
    assert_eq!(core["totals"]["failed"], 0, "{}", core["failures"]);
    assert!(core["totals"]["ok"].as_u64() >= Some(40), "{}", core["totals"]);
    let refused = &flood["refused_wait"];
    assert!(refused["count"].as_u64() >= Some(300), "{refused}");
    // Milliseconds where nothing else runs; what waits in vain takes seconds.
    assert!(refused["p50"].as_f64().is_some_and(|ms| ms < 50.0), "{refused}");
    let text = flood["failures"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("overloaded"), "{text}");
    let status = up.snapshot().await;
    let refusals = &status["services"][0]["refusals"];
    assert_eq!(refusals["core"]["overloaded"], 0, "{refusals}");
    assert!(refusals["best_effort"]["overloaded"].as_u64() >= Some(300), "{refusals}");
}

#[tokio::test]
async fn a_refusal_says_when_to_come_again() {
    let model = Model::start(&["--slots", "1", "--first-token", "3000"]).await;
    let replica = format!("[[service.replica]]\nurl = \"{}\"\nmax_in_flight = 1\n", model.url());
    let text = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\nqueue = {{ max_wait = \"4s\" }}\n{replica}"
    );
    let up = Up::start(&text).await.ready().await;
    // One teaches how long an answer takes.
    let first = ask(&up.clients, "", &chat("a", 2, false)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let (clients, body) = (up.clients.clone(), chat("b", 2, false));
    let busy = tokio::spawn(async move { ask(&clients, "", &body).await });
    until("it is under way", || async {
        (up.snapshot().await["services"][0]["active"] == 1).then_some(())
    })
    .await;
    let (clients, body) = (up.clients.clone(), chat("c", 2, false));
    let waits = tokio::spawn(async move { ask(&clients, "", &body).await });
    until("one waits", || async {
        (up.snapshot().await["services"][0]["held"] == 1).then_some(())
    })
    .await;
    let began = now();
    let refused = ask(&up.clients, "", &chat("d", 2, false)).await;
    assert!(now() - began < Duration::from_millis(500), "it was not at once");
    assert_eq!((refused.status, refused.code()), (503, "overloaded".into()));
    let after = refused.header("retry-after").and_then(|s| s.parse::<u64>().ok());
    assert!(after.is_some_and(|s| (4..=12).contains(&s)), "{after:?}");
    assert_eq!(refused.header("x-should-retry"), None);
    // Its own deadline is shorter than the wait.
    let hurry = ask(&up.clients, "x-request-timeout: 1\r\n", &chat("e", 2, false)).await;
    assert_eq!(hurry.status, 503, "{}", hurry.text());
    assert_eq!(busy.await.expect("it is answered").status, 200);
    assert_eq!(waits.await.expect("it is answered").status, 200);
}
