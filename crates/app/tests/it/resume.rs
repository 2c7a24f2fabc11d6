//! Streams whose replica fails in the middle: whole and right all the same.

use crate::support::{Answer, Model, SOON, Up, ask, service, until};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Oracle, oracle::Seen};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

/// Tokens of an answer, 10 ms apart.
const TOKENS: u32 = 150;
const PROMPT: &str = "Tell me of the sea";

/// Two models, and Evenkeel in front of them.
pub(crate) async fn models() -> ([Model; 2], Up) {
    let pace = ["--pace", "10"];
    let models = [Model::start(&pace).await, Model::start(&pace).await];
    let services = service("", &models.each_ref().map(Model::url)).replace("\"*\"", "\"test\"");
    let up = Up::start(&services).await.ready().await;
    // The first stream has them asked what they can do.
    let first = json!({"model": "test", "max_tokens": 1, "stream": true,
        "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(ask(&up.clients, "", &first.to_string()).await.status, 200);
    for name in ["chat-0", "chat-1"] {
        up.replica(name, |r| r["goes_on"]["token_ids"] == "yes").await;
    }
    (models, up)
}

/// Which of the models serves the one stream that is under way.
pub(crate) async fn serving(up: &Up) -> usize {
    until("one replica serves", || async {
        let replicas = up.replicas().await;
        replicas.iter().position(|r| r["in_flight"].as_u64() > Some(0))
    })
    .await
}

fn body() -> serde_json::Value {
    json!({"model": "test", "max_tokens": TOKENS, "temperature": 0,
        "messages": [{"role": "user", "content": PROMPT}]})
}

/// What a healthy replica says.
async fn right(model: &Model) -> String {
    let answer: Answer = ask(&model.address, "", &body().to_string()).await;
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// Streams while `fault` strikes the replica that serves it.
async fn stream_through(fault: impl AsyncFnOnce(&Model)) -> (Seen, Up) {
    let (models, up) = models().await;
    let right = right(&models[0]).await;
    assert!(right.len() > 200, "{right}");
    let oracle = Oracle::new(&up.url()).knowing(move |_, _| right.clone());
    let streaming = tokio::spawn(async move { oracle.ask(PROMPT, TOKENS, true).await });
    let at = serving(&up).await;
    // Into the middle of it.
    tokio::time::sleep(Duration::from_millis(400)).await;
    fault(&models[at]).await;
    let seen = tokio::time::timeout(3 * SOON, streaming).await.expect("it ends").expect("it runs");
    (seen, up)
}

#[tokio::test]
async fn a_stream_outlives_a_killed_replica() {
    let (seen, up) = stream_through(async |model| model.kill9()).await;
    assert!(seen.is_ok(), "{seen:?}");
    assert!(seen.longest_gap < Duration::from_secs(1), "{:?}", seen.longest_gap);
    let counts = &up.snapshot().await["services"][0];
    assert_eq!(counts["resumed"]["token_replay"], 1, "{counts}");
    assert_eq!(counts["broken_streams"], 0, "{counts}");
}

#[tokio::test]
async fn a_stream_outlives_a_stopped_replica() {
    let (seen, _up) = stream_through(async |model| {
        signal(model.id(), Signal::STOP);
        tokio::time::sleep(Duration::from_secs(3)).await;
        signal(model.id(), Signal::CONT);
    })
    .await;
    assert!(seen.is_ok(), "{seen:?}");
    assert!(seen.longest_gap < Duration::from_millis(2500), "{:?}", seen.longest_gap);
}

#[tokio::test]
async fn a_drained_replica_hands_its_streams_over() {
    let (models, up) = models().await;
    let right = right(&models[0]).await;
    let oracle = Oracle::new(&up.url()).knowing(move |_, _| right.clone());
    let streaming = tokio::spawn(async move { oracle.ask(PROMPT, TOKENS, true).await });
    let at = serving(&up).await;
    let name = up.replicas().await[at]["name"].as_str().unwrap_or_default().to_owned();
    let drained = up.cli(&["replica", "drain", &name]).await;
    assert_eq!(drained.code, 0, "{}", drained.err);
    // Long before the answer's end there is nothing left on it.
    up.replica(&name, |r| r["in_flight"] == 0).await;
    assert!(!streaming.is_finished(), "the answer was over too soon to tell");
    let seen = streaming.await.expect("it runs");
    assert!(seen.is_ok(), "{seen:?}");
}
