//! Gray failures: a replica that answers its probes, and clients wrongly, late or not at all.
//!
//! Three scripted replicas and 30 requests a second; one turns gray. Within ten seconds the
//! authority must have said so (no new traffic), and no client may have seen anything of it.

use crate::support::{Up, service, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::oracle::Seen;
use evenkeel_testkit::{Behaviour, Break, Oracle, Replica};
use std::time::Duration;

const RATE: u32 = 30;
const TOKENS: u32 = 16;
/// What counts as a long prompt, in bytes.
const LONG: usize = 6000;
/// Load before it turns gray: what is normal must be known.
const BEFORE: Duration = Duration::from_secs(6);
/// Affected requests or time within which it must be detected.
const REQUESTS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(10);

const FIRST: Duration = Duration::from_millis(60);
const GAP: Duration = Duration::from_millis(4);
const PACE: (Duration, Duration) = (FIRST, GAP);

fn good() -> Behaviour {
    Behaviour::Paced { first: FIRST, gap: GAP }
}

/// Answers from now until `stop`; one prompt in four is long.
async fn load(
    oracle: Oracle,
    mut stop: tokio::sync::watch::Receiver<bool>,
    streams: bool,
) -> Vec<Seen> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut under_way = tokio::task::JoinSet::new();
    let mut number = 0_u32;
    loop {
        tokio::select! {
            _ = stop.wait_for(|s| *s) => break,
            _ = tick.tick() => {}
        }
        let mut prompt = format!("prompt {}", number % 16);
        if number.is_multiple_of(4) {
            prompt.push_str(&"x".repeat(LONG));
        }
        let stream = streams || number % 5 < 3;
        number += 1;
        let oracle = oracle.clone();
        under_way.spawn(async move { oracle.ask(&prompt, TOKENS, stream).await });
    }
    under_way.join_all().await
}

/// One of three turns gray as `turn` says.
async fn detected(streams: bool, turn: impl AsyncFnOnce(&Replica)) {
    let replicas =
        [Replica::start(good()).await, Replica::start(good()).await, Replica::start(good()).await];
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    let up = Up::start(&service("", &urls)).await.ready().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(load(Oracle::new(&up.url()), stopped, streams));
    tokio::time::sleep(BEFORE).await;
    let (from, before) = (now(), replicas[0].counts());
    let out = |r: &serde_json::Value| r["health"] == "suspect" || r["health"] == "isolated";
    let watching = async {
        let seen = until("the gray replica is out", || async {
            up.replicas().await.into_iter().find(|r| r["name"] == "chat-0").filter(out)
        })
        .await;
        (seen, now() - from, replicas[0].counts())
    };
    let (seen, took) = tokio::select! {
        (seen, took, counts) = watching => {
            let asked = counts.begun - before.begun;
            assert!(took <= LIMIT || asked <= REQUESTS, "{took:?} and {asked} requests");
            (seen, took)
        }
        () = async { turn(&replicas[0]).await; std::future::pending().await } => unreachable!(),
    };
    // What was under way there must end well, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    let answers = load.await.expect("the load runs");
    let failed: Vec<_> = answers.iter().filter(|s| !s.is_ok()).map(|s| &s.verdict).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), answers.len());
    assert!(answers.len() > 100, "not a load");
    let peers = up.replicas().await;
    let others = peers.iter().filter(|r| r["name"] != "chat-0" && out(r)).count();
    assert_eq!(others, 0, "a healthy one is out: {peers:?}");
    println!("after {took:.1?}: {} ({})", seen["health"], seen["why"]);
}

async fn turned(behaviour: Behaviour) {
    detected(false, async |replica| replica.behave(behaviour)).await;
}

#[tokio::test]
async fn gray_30_percent_errors() {
    let error = Behaviour::Status { status: 500, retry_after: None };
    turned(Behaviour::InTurn(vec![good(), error.clone(), good(), error, good(), good()])).await;
}

#[tokio::test]
async fn gray_first_token_10_times_later() {
    turned(Behaviour::Paced { first: FIRST * 10, gap: GAP }).await;
}

#[tokio::test]
async fn gray_stalls_in_the_middle() {
    turned(Behaviour::Break { after: 8, gap: GAP, how: Break::Stall }).await;
}

#[tokio::test]
async fn gray_empty_deltas() {
    // Only streams have deltas.
    detected(true, async |replica| replica.behave(Behaviour::Hollow { gap: GAP })).await;
}

#[tokio::test]
async fn gray_only_long_prompts_fail() {
    turned(Behaviour::LongFails { most: LONG, pace: PACE }).await;
}

#[tokio::test]
async fn gray_one_kilobyte_a_second() {
    // An event is about 170 bytes.
    turned(Behaviour::Paced { first: FIRST, gap: Duration::from_millis(170) }).await;
}

#[tokio::test]
async fn gray_answers_truncated() {
    turned(Behaviour::Break { after: 8, gap: GAP, how: Break::End }).await;
}

#[tokio::test]
async fn gray_another_model_answers() {
    turned(Behaviour::Named { model: "other", pace: PACE }).await;
}

#[tokio::test]
async fn gray_every_tenth_connection_reset() {
    detected(false, async |replica| replica.reset_connections(10)).await;
}

#[tokio::test]
async fn gray_latency_rises_10_percent_a_second() {
    detected(false, async |replica| {
        let began = now();
        loop {
            let factor = 1.1_f64.powf((now() - began).as_secs_f64());
            replica.behave(Behaviour::Paced { first: FIRST.mul_f64(factor), gap: GAP });
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn gray_half_of_the_requests_hang() {
    turned(Behaviour::InTurn(vec![good(), Behaviour::Hang])).await;
}

#[tokio::test]
async fn gray_answers_never_end() {
    detected(true, async |replica| replica.behave(Behaviour::Endless { pace: PACE })).await;
}
