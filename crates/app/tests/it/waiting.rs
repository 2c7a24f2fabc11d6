//! Who waits for whom, and for how long.

use crate::support::{SOON, Up, Wire, ask, chat, model_at, post, service, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::{Behaviour, Ended, Replica, ports};
use std::time::Duration;

/// How soon a replica must know that a client has left.
const CANCEL: Duration = Duration::from_millis(100);
const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn who_leaves_is_not_worked_for() {
    let gap = Duration::from_millis(50);
    let replica = Replica::start(Behaviour::Hang).await;
    let up =
        Up::start(&service("probe = { kind = \"tcp\" }", &[replica.url()])).await.ready().await;
    let left = |count: u64| {
        let replica = &replica;
        async move {
            let at = now();
            replica.wait_for(SOON, |c| c.cancelled == count).await.expect("the replica is told");
            let ended = replica.requests().into_iter().filter_map(|request| request.ended);
            let mut left = ended.filter(|(_, how)| *how == Ended::Cancelled);
            let last = left.nth(count as usize - 1).expect("it is counted").0;
            let after = last.saturating_duration_since(at);
            assert!(after <= CANCEL, "the replica learnt it after {after:?}");
        }
    };
    // Waiting for a whole answer.
    let mut client = Wire::open(&up.clients).await;
    client.send(post(PATH, "", &chat("hello", 4, false))).await;
    replica.wait_for(SOON, |c| c.begun == 1).await.expect("the request arrives");
    drop(client);
    left(1).await;
    // In the middle of a stream.
    replica.behave(Behaviour::Paced { first: gap, gap });
    let mut client = Wire::open(&up.clients).await;
    client.send(post(PATH, "", &chat("hello", 1000, true))).await;
    assert_eq!(client.head().await.map(|a| a.status), Ok(200));
    for _ in 0..3 {
        client.chunk().await.expect("the stream goes on");
    }
    drop(client);
    left(2).await;
    let seen = up.replicas().await;
    assert_eq!(seen[0]["health"], "healthy", "leaving is no fault of the replica: {seen:?}");
    until("nothing is under way", || async {
        (up.snapshot().await["services"][0]["active"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_replica_requests_wait_and_are_then_refused() {
    let nobody = format!("http://127.0.0.1:{}", ports::free_port());
    let up = Up::start(&service("hold = { time = \"600ms\" }", &[nobody])).await;
    let began = now();
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    let waited = began.elapsed();
    assert_eq!((got.status, got.code()), (503, "no_replica_available".into()));
    assert!(got.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()), "{got:?}");
    assert_eq!(got.header("x-should-retry"), Some("false"));
    assert!(waited >= Duration::from_millis(600) && waited < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn a_replica_that_comes_in_time_answers_who_waits() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = place.local_addr().expect("it has an address");
    drop(place);
    let up = Up::start(&service("", &[format!("http://{address}")])).await;
    let clients = up.clients.clone();
    let waiting = tokio::spawn(async move { ask(&clients, "", &chat("hello", 4, false)).await });
    until("it is on hold", || async {
        (up.snapshot().await["services"][0]["held"] == 1).then_some(())
    })
    .await;
    let model = model_at(&address.to_string()).await;
    let came = now();
    let got = waiting.await.expect("the request ends");
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(came.elapsed() < Duration::from_millis(500), "{:?}", came.elapsed());
    drop(model);
}

#[tokio::test]
async fn a_clients_deadline_holds() {
    let replica = Replica::start(Behaviour::Hang).await;
    let up =
        Up::start(&service("probe = { kind = \"tcp\" }", &[replica.url()])).await.ready().await;
    let began = now();
    let got = ask(&up.clients, "x-request-timeout: 300ms\r\n", &chat("hello", 4, false)).await;
    assert_eq!((got.status, got.code()), (504, "deadline_exceeded".into()));
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    replica.wait_for(CANCEL, |c| c.cancelled >= 1).await.expect("the replica is told");
}
