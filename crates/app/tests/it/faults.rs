//! Faults under load, judged by a client that never retries: no answer fails or is wrong,
//! and none is late by more than [`LATE`].
//!
//! Three replicas whose answers take 200 to 400 ms; about 20 requests are under way when
//! the fault comes.

use crate::support::{Model, SOON, Up, ask, chat, get, service, supervised, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::oracle::Seen;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Oracle, Replica};
use rustix::process::Signal;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

/// Requests a second.
const RATE: u32 = 70;
/// The slowest right answer without a fault.
const NORMAL: Duration = Duration::from_millis(400);
/// What a fault may add.
const LATE: Duration = Duration::from_millis(1500);
/// Load before the fault.
const BEFORE: Duration = Duration::from_millis(1000);
/// Load after it began.
const AFTER: Duration = Duration::from_millis(3500);
/// Tokens of an answer.
const TOKENS: u32 = 8;

/// Sends at [`RATE`] while `fault` runs and for a while after it, and judges all answers;
/// `outage` is for how long nobody could have served.
async fn under_load(oracle: &Oracle, outage: Duration, fault: impl Future<Output = ()>) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(send(oracle.clone(), stopped));
    tokio::time::sleep(BEFORE).await;
    let least = tokio::time::sleep(AFTER);
    fault.await;
    least.await;
    stop.send_replace(true);
    let seen = load.await.expect("the load runs");
    assert!(seen.len() > 200, "only {} answers: not a load", seen.len());
    let failed: Vec<_> = seen.iter().filter(|s| !s.is_ok()).map(|s| &s.verdict).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), seen.len());
    let slowest = seen.iter().map(|s| s.waited).max().unwrap_or_default();
    assert!(slowest <= NORMAL + outage + LATE, "one waited {slowest:?}");
}

async fn send(oracle: Oracle, mut stopped: tokio::sync::watch::Receiver<bool>) -> Vec<Seen> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut under_way = tokio::task::JoinSet::new();
    let mut number = 0_u32;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|s| *s) => break,
            _ = tick.tick() => {}
        }
        let oracle = oracle.clone();
        let prompt = format!("prompt {}", number % PROMPTS);
        // Every third as a stream: before its first token it is as safe as a whole answer.
        let stream = number.is_multiple_of(3);
        number += 1;
        under_way.spawn(async move { oracle.ask(&prompt, TOKENS, stream).await });
    }
    under_way.join_all().await
}

/// Distinct prompts: enough that a mixed-up answer shows.
const PROMPTS: u32 = 16;

/// Scripted replicas, Evenkeel in front, the first of them told to do as `fault` says.
async fn one_of_three(fault: Behaviour) {
    let good = |ms| Behaviour::SlowHead(Duration::from_millis(ms));
    let replicas = [
        Replica::start(good(200)).await,
        Replica::start(good(300)).await,
        Replica::start(good(390)).await,
    ];
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    let up = Up::start(&service("", &urls)).await.ready().await;
    under_load(&Oracle::new(&up.url()), Duration::ZERO, async { replicas[0].behave(fault) }).await;
}

#[tokio::test]
async fn fault_one_hangs() {
    one_of_three(Behaviour::Hang).await;
}

#[tokio::test]
async fn fault_one_answers_500() {
    one_of_three(Behaviour::Status { status: 500, retry_after: None }).await;
}

#[tokio::test]
async fn fault_one_is_busy() {
    one_of_three(Behaviour::Status { status: 429, retry_after: Some(1) }).await;
}

#[tokio::test]
async fn fault_one_truncates_json() {
    one_of_three(Behaviour::TruncatedJson).await;
}

#[tokio::test]
async fn fault_one_answers_empty() {
    one_of_three(Behaviour::Empty).await;
}

#[tokio::test]
async fn fault_one_resets() {
    one_of_three(Behaviour::Reset).await;
}

/// Real processes, Evenkeel in front, and a client that asked one of them directly before.
async fn models() -> (Vec<Model>, Up, Oracle) {
    let mut models = Vec::new();
    for _ in 0..3 {
        models.push(Model::start(&["--first-token", "250", "--slots", "64"]).await);
    }
    let urls: Vec<_> = models.iter().map(Model::url).collect();
    let up = Up::start(&service("", &urls)).await.ready().await;
    let oracle = knowing(&up).await;
    (models, up, oracle)
}

/// A client that heard each right answer once, before the fault.
async fn knowing(up: &Up) -> Oracle {
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..PROMPTS {
        let clients = up.clients.clone();
        asking.spawn(async move {
            let prompt = format!("prompt {number}");
            let answer = ask(&clients, "", &chat(&prompt, TOKENS, false)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body = answer.json();
            let text = body["choices"][0]["message"]["content"].as_str().map(str::to_owned);
            (prompt, text.expect("an answer has a text"))
        });
    }
    let right: HashMap<_, _> = asking.join_all().await.into_iter().collect();
    Oracle::new(&up.url()).knowing(move |prompt, _| right.get(prompt).cloned().unwrap_or_default())
}

#[tokio::test]
async fn fault_one_killed() {
    let (models, _up, oracle) = models().await;
    under_load(&oracle, Duration::ZERO, async { models[0].kill9() }).await;
}

#[tokio::test]
async fn fault_two_killed() {
    let (models, _up, oracle) = models().await;
    under_load(&oracle, Duration::ZERO, async { models[..2].iter().for_each(Model::kill9) }).await;
}

#[tokio::test]
async fn fault_one_stopped_for_4_s() {
    let (models, _up, oracle) = models().await;
    let fault = async {
        signal(models[0].id(), Signal::STOP);
        tokio::time::sleep(Duration::from_secs(4)).await;
        signal(models[0].id(), Signal::CONT);
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

#[tokio::test]
async fn fault_one_killed_every_800_ms() {
    let (mut models, _up, oracle) = models().await;
    let fault = async {
        for _ in 0..5 {
            models[0].kill9();
            tokio::time::sleep(Duration::from_millis(200)).await;
            models[0].again().await;
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

#[tokio::test]
async fn fault_all_gone_for_2_s() {
    let (mut models, _up, oracle) = models().await;
    let outage = Duration::from_secs(2);
    let mut away = outage;
    let fault = async {
        let began = now();
        models.iter().for_each(Model::kill9);
        tokio::time::sleep(outage).await;
        for model in &mut models {
            model.again().await;
        }
        away = now() - began;
    };
    // Starting three processes on a busy machine counts as outage, too.
    under_load(&oracle, outage + Duration::from_secs(1), fault).await;
    assert!(away < outage + Duration::from_secs(1), "the models took {away:?} to start");
}

#[tokio::test]
async fn fault_reloaded_under_load() {
    let (models, up, oracle) = models().await;
    let urls: Vec<_> = models.iter().map(Model::url).collect();
    let fault = async {
        for attempts in [4, 5, 4] {
            let before = up.snapshot().await["gateway"]["config_generation"].clone();
            up.rewrite(&service(&format!("retry = {{ max_attempts = {attempts} }}"), &urls));
            signal(up.process.id(), Signal::HUP);
            until("the configuration is taken over", || async {
                let now = up.snapshot().await["gateway"]["config_generation"].clone();
                (now != before).then_some(())
            })
            .await;
        }
        // One replica less, and back.
        up.rewrite(&service("", &urls[..2]));
        signal(up.process.id(), Signal::HUP);
        until("one is gone", || async { (up.replicas().await.len() == 2).then_some(()) }).await;
        up.rewrite(&service("", &urls));
        signal(up.process.id(), Signal::HUP);
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

#[tokio::test]
async fn fault_upgraded_under_load() {
    let (_models, up, oracle) = models().await;
    let before = up.gateway_pid().await;
    let fault = async {
        signal(up.process.id(), Signal::USR2);
        until("a new gateway answers", || async {
            let answer = get(&up.admin, "/api/v1/snapshot").await;
            (answer.json()["gateway"]["pid"] != before).then_some(())
        })
        .await;
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

/// Waits until three supervised replicas serve and none of them is one of before.
async fn renewed(up: &Up, before: &[u32]) {
    let deadline = now() + 3 * SOON;
    loop {
        let all = up.replicas().await;
        let renewed = |r: &serde_json::Value| {
            let pid = r["process"]["pid"].as_u64();
            pid.is_some_and(|pid| before.iter().all(|old| u64::from(*old) != pid))
                && r["gate"] == "open"
        };
        if all.len() == 3 && all.iter().all(renewed) {
            return;
        }
        assert!(now() < deadline, "not all renewed: {all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn fault_supervised_replicas_get_another_command() {
    let options = ["--first-token", "250", "--slots", "64", "--load-time", "1000"];
    let up = Up::start(&supervised(3, &options)).await.ready().await;
    let oracle = knowing(&up).await;
    let before = up.pids().await;
    let fault = async {
        up.rewrite(&supervised(3, &[&options[..], &["--queue", "300"]].concat()));
        signal(up.process.id(), Signal::HUP);
        renewed(&up, &before).await;
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

#[tokio::test]
async fn fault_scaled_down_and_up() {
    let options = ["--first-token", "250", "--slots", "64"];
    let up = Up::start(&supervised(3, &options)).await.ready().await;
    let oracle = knowing(&up).await;
    let fault = async {
        for copies in [1, 3] {
            up.rewrite(&supervised(copies, &options));
            signal(up.process.id(), Signal::HUP);
            until("so many serve", || async {
                let all = up.replicas().await;
                let open = all.iter().filter(|r| r["gate"] == "open").count();
                (all.len() == copies as usize && open == all.len()).then_some(())
            })
            .await;
        }
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}

#[tokio::test]
async fn fault_rolling_restart_of_supervised_replicas() {
    let options = ["--first-token", "250", "--slots", "64"];
    let up = Up::start(&supervised(3, &options)).await.ready().await;
    let oracle = knowing(&up).await;
    let before = up.pids().await;
    let fault = async {
        for name in ["chat-0", "chat-1", "chat-2"] {
            let ran = up.cli(&["replica", "restart", name]).await;
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        renewed(&up, &before).await;
    };
    under_load(&oracle, Duration::ZERO, fault).await;
}
