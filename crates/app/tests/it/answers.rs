//! Answers that are made certain, kept, replaced and cut down.

use crate::support::{Up, ask, chat, service, until};
use evenkeel_testkit::{Behaviour, Replica, answer};
use std::time::Duration;

const QUORUM: &str = "quorum = { of = 3, agree = 2 }\nprobe = { kind = \"tcp\" }\n\
                      ejection = { max_percent = 100 }";

async fn replicas<const N: usize>(how: [Behaviour; N]) -> Vec<Replica> {
    let mut all = Vec::new();
    for behaviour in how {
        all.push(Replica::start(behaviour).await);
    }
    all
}

async fn in_front_of(settings: &str, replicas: &[Replica]) -> Up {
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    Up::start(&service(settings, &urls)).await.ready().await
}

async fn counted(up: &Up, name: &str) -> u64 {
    up.snapshot().await["services"][0]["answers"][name].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_liar_is_outvoted_and_isolated() {
    let good = Behaviour::Good;
    let replicas = replicas([Behaviour::Lie, good.clone(), good]).await;
    let up = in_front_of(QUORUM, &replicas).await;
    let right = answer::text("hello", 4);
    for _ in 0..2 {
        let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(got.json()["choices"][0]["message"]["content"], right.as_str());
    }
    // A stream comes once its answer is certain.
    let got = ask(&up.clients, "", &chat("hello", 4, true)).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"), "{}", got.text());
    assert!(got.text().contains(&right) && got.text().ends_with("data: [DONE]\n\n"));
    let liar = up.replica("chat-0", |r| r["health"] == "isolated").await;
    assert!(liar["why"].as_str().is_some_and(|why| why.contains("lying")), "{liar}");
    until("all are counted", || async { (counted(&up, "quorum_agreed").await == 3).then_some(()) })
        .await;
    assert_eq!(counted(&up, "quorum_deviations").await, 3);
    let service = up.snapshot().await["services"][0].clone();
    assert_eq!((&service["requests"]["ok"], &service["active"]), (&3.into(), &0.into()));
    // The two that are left still agree.
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(replicas[0].requests().len(), 3, "nobody asks a liar");
}

#[tokio::test]
async fn without_agreement_there_is_no_answer() {
    let replicas = replicas([Behaviour::Lie, Behaviour::Good]).await;
    let up =
        in_front_of("quorum = { of = 2, agree = 2 }\nhold = { time = \"100ms\" }", &replicas).await;
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (502, "no_agreement".into()));
    assert_eq!(counted(&up, "quorum_split").await, 1);
    // One alone agrees with nobody.
    replicas[0].behave(Behaviour::Status { status: 500, retry_after: None });
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (503, "no_replica_available".into()), "{}", got.text());
    assert!(got.text().contains("must agree"), "{}", got.text());
}

#[tokio::test]
async fn a_voice_that_fails_asks_another_replica() {
    let good = Behaviour::Good;
    let replicas = replicas([Behaviour::Reset, good.clone(), good]).await;
    let up = in_front_of("quorum = { of = 2, agree = 2 }", &replicas).await;
    for _ in 0..4 {
        let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
}

#[tokio::test]
async fn a_known_question_finds_a_liar_without_traffic() {
    let replicas = replicas([Behaviour::Good, Behaviour::Good, Behaviour::Good]).await;
    let right = answer::text("truth", 8);
    let golden = format!(
        "probe = {{ kind = \"tcp\" }}\n[[service.golden]]\npath = \"/v1/chat/completions\"\n\
         prompt = \"truth\"\nexpect = {right:?}\ninterval = \"300ms\"\n"
    );
    let up = in_front_of(&golden, &replicas).await;
    for replica in &replicas {
        replica.wait_for(Duration::from_secs(5), |c| c.finished >= 2).await.expect("it is asked");
    }
    replicas[1].behave(Behaviour::Lie);
    let liar = up.replica("chat-1", |r| r["health"] == "isolated").await;
    assert!(liar["why"].as_str().is_some_and(|why| why.contains("expected")), "{liar}");
    assert!(up.replicas().await.iter().filter(|r| r["health"] == "healthy").count() == 2);
}
