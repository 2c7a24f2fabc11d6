//! Whose turn it is: by tier, and fair between keys.

use super::{bearer, entry, start};
use crate::support::{Answer, Up, ask, chat, until};
use evenkeel_testkit::Replica;
use evenkeel_testkit::replica::Behaviour;
use std::time::Duration;
use tokio::task::JoinHandle;

/// One replica with one place, taken for a while by each answer.
async fn one_at_a_time(keys: &str, settings: &str) -> (Replica, Up) {
    let first = Duration::from_millis(300);
    let replica = Replica::start(Behaviour::SlowHead(first)).await;
    let service = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n{settings}\nqueue = {{ max_wait = \"60s\", \
         objective = \"60s\" }}\n[[service.replica]]\nurl = \"{}\"\nmax_in_flight = 1\n",
        replica.url()
    );
    let up = match keys {
        "" => Up::start(&service).await.ready().await,
        keys => start(keys, &service).await,
    };
    (replica, up)
}

/// Asks, and goes on once it is under way or waits as the `nth`.
async fn queue(up: &Up, headers: &str, prompt: &str, nth: u64) -> JoinHandle<Answer> {
    let (to, headers, body) = (up.clients.clone(), headers.to_owned(), chat(prompt, 1, false));
    let asking = tokio::spawn(async move { ask(&to, &headers, &body).await });
    until("it waits", || async {
        let service = up.snapshot().await["services"][0].clone();
        let all = service["active"].as_u64().unwrap_or(0);
        (all >= nth).then_some(())
    })
    .await;
    asking
}

/// The prompts in the order in which the replica saw them.
fn order(replica: &Replica) -> Vec<String> {
    let prompt = |body: &[u8]| {
        let body: serde_json::Value = serde_json::from_slice(body).expect("it is JSON");
        body["messages"][0]["content"].as_str().unwrap_or_default().to_owned()
    };
    replica.requests().iter().map(|request| prompt(&request.body)).collect()
}

async fn all(asked: Vec<JoinHandle<Answer>>) {
    for asked in asked {
        let answer = asked.await.expect("it is answered");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn who_asks_for_less_waits_behind_the_others() {
    let (replica, up) = one_at_a_time("", "").await;
    let less = "x-evenkeel-tier: best_effort\r\n";
    let asked = vec![
        queue(&up, "", "first", 1).await,
        queue(&up, less, "less", 2).await,
        queue(&up, "", "core", 3).await,
        queue(&up, "x-evenkeel-tier: core\r\n", "core again", 4).await,
    ];
    all(asked).await;
    assert_eq!(order(&replica), ["first", "core", "core again", "less"]);
}

#[tokio::test]
async fn only_a_key_that_may_goes_first() {
    let keys = entry("plain", "")
        + &entry("high", "tier = \"core\"")
        + &entry("low", "tier = \"best_effort\"");
    let (replica, up) = one_at_a_time(&keys, "tier = \"best_effort\"").await;
    let core = |id: &str| bearer(id) + "x-evenkeel-tier: core\r\n";
    let asked = vec![
        queue(&up, &bearer("plain"), "first", 1).await,
        queue(&up, &core("low"), "low", 2).await,
        queue(&up, &core("plain"), "plain", 3).await,
        queue(&up, &core("high"), "high", 4).await,
    ];
    all(asked).await;
    assert_eq!(order(&replica), ["first", "high", "low", "plain"]);
}

#[tokio::test]
async fn keys_take_turns() {
    let (replica, up) = one_at_a_time(&(entry("many", "") + &entry("few", "")), "").await;
    let mut asked = Vec::new();
    for n in 0..5 {
        asked.push(queue(&up, &bearer("many"), &format!("many {n}"), n + 1).await);
    }
    asked.push(queue(&up, &bearer("few"), "few", 6).await);
    all(asked).await;
    let order = order(&replica);
    let turn = order.iter().position(|prompt| prompt == "few").expect("it was asked");
    assert!(turn <= 2, "{order:?}: from one address, and yet not the last");
}
