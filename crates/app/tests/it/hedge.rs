//! A second attempt beside one whose first token is late, and no other.

use crate::support::{Up, ask, chat, service, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::{Behaviour, Ended, Replica};
use std::time::Duration;

const NORMAL: Behaviour = paced(20);
/// Late, and far from the half second of silence after which a replica is suspect.
const LATE_MS: u64 = 400;
const STRAGGLER: Behaviour = paced(LATE_MS);

const fn paced(first_ms: u64) -> Behaviour {
    Behaviour::Paced { first: Duration::from_millis(first_ms), gap: Duration::from_millis(1) }
}

async fn hedges(up: &Up) -> u64 {
    up.snapshot().await["services"][0]["hedges"].as_u64().expect("hedges are counted")
}

/// One stream whose first replica is late; how long it took.
async fn late_stream(up: &Up, replicas: &[Replica; 2]) -> Duration {
    // Whichever is asked first is late, the other is not.
    for replica in replicas {
        replica.behave(STRAGGLER);
    }
    let before: u64 = replicas.iter().map(|r| r.counts().begun - r.counts().probes).sum();
    let begun = now();
    let body = chat("late", 5, true);
    let asking = ask(&up.clients, "", &body);
    let other = async {
        until("one is asked", || async {
            let now: u64 = replicas.iter().map(|r| r.counts().begun - r.counts().probes).sum();
            (now > before).then_some(())
        })
        .await;
        for replica in replicas {
            replica.behave(NORMAL);
        }
    };
    let (answer, ()) = tokio::join!(asking, other);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("[DONE]"), "{answer:?}");
    now() - begun
}

#[tokio::test]
async fn a_straggler_is_overtaken_until_hedges_are_given_up() {
    let replicas = [Replica::start(NORMAL).await, Replica::start(NORMAL).await];
    let urls = replicas.each_ref().map(Replica::url);
    let up = Up::start(&service("degrade = { max_tokens = 100 }", &urls)).await.ready().await;
    // What is normal has to be known first, and a share of it is the budget.
    let learnt = async || {
        for _ in 0..80 {
            assert_eq!(ask(&up.clients, "", &chat("hello", 2, true)).await.status, 200);
        }
    };
    learnt().await;
    let before = hedges(&up).await;
    until("a straggler is overtaken", || async {
        let took = late_stream(&up, &replicas).await;
        (took < Duration::from_millis(LATE_MS)).then_some(())
    })
    .await;
    assert!(hedges(&up).await > before);
    let loser = || {
        let all = replicas.iter().flat_map(Replica::requests);
        let mut late = all.filter(|r| String::from_utf8_lossy(&r.body).contains("late"));
        late.any(|r| matches!(r.ended, Some((_, Ended::Cancelled))))
    };
    until("the loser is cancelled", || async { loser().then_some(()) }).await;

    assert_eq!(up.cli(&["degrade", "chat", "1"]).await.code, 0);
    until("the level is reached", || async {
        (up.snapshot().await["services"][0]["answers"]["degrade_level"] == 1).then_some(())
    })
    .await;
    let before = hedges(&up).await;
    for _ in 0..3 {
        let took = late_stream(&up, &replicas).await;
        assert!(took >= Duration::from_millis(LATE_MS), "{took:?}");
    }
    assert_eq!(hedges(&up).await, before, "the first thing that is given up");
}
