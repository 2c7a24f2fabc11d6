//! What is counted as what.

use crate::support::{Model, Up, Wire, ask, chat, padding, service, two_services, until};
use evenkeel_testkit::{Behaviour, Replica};
use std::time::Duration;

#[tokio::test]
async fn whole_streams_count_as_good() {
    let gap = Duration::from_millis(5);
    let replica = Replica::start(Behaviour::Paced { first: gap, gap }).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    for n in 0..10 {
        let got = ask(&up.clients, "connection: close\r\n", &chat("hello", n, true)).await;
        assert!(got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
    }
    let service = until("all are counted", || async {
        let service = up.snapshot().await["services"][0].clone();
        (service["active"] == 0).then_some(service)
    })
    .await;
    assert_eq!(
        (&service["requests"]["ok"], &service["requests"]["cancelled"]),
        (&10.into(), &0.into())
    );
    let outcomes = &service["replicas"][0]["outcomes"];
    assert_eq!((&outcomes["ok"], &outcomes["cancelled"]), (&10.into(), &0.into()), "{outcomes}");
}

#[tokio::test]
async fn answers_that_are_whole_at_once_count_as_good() {
    // A stream that comes in one read, and answers to HEAD, which have no body to wait for.
    let model = Model::start(&["--first-token", "20"]).await;
    let up = Up::start(&service("", &[model.url()])).await.ready().await;
    for n in 1..=10 {
        let got = ask(&up.clients, "connection: close\r\n", &chat("hello", n, true)).await;
        assert!(got.text().ends_with("data: [DONE]\n\n"), "{}", got.text());
    }
    let web = Up::start(&service("protocol = \"http\"", &[model.url()])).await.ready().await;
    for _ in 0..3 {
        let request = "HEAD /health HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let mut wire = Wire::open(&web.clients).await;
        wire.send(request).await;
        wire.head().await.expect("an answer to HEAD");
    }
    for (up, expected) in [(&up, 10), (&web, 3)] {
        let counted = until("all are counted", || async {
            let service = up.snapshot().await["services"][0].clone();
            (service["active"] == 0).then_some(service["requests"].clone())
        })
        .await;
        assert_eq!(counted["cancelled"], 0, "{counted}");
        let ended =
            counted["ok"].as_u64().unwrap_or(0) + counted["client_fault"].as_u64().unwrap_or(0);
        assert_eq!(ended, expected, "{counted}");
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_sent_once_and_counted() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&two_services("", &replica)).await.ready().await;
    let prompt = padding(33 << 20);
    let late = format!("{{\"messages\":[{{\"content\":\"{prompt}\"}}],\"model\":\"test\"}}");
    let got = ask(&up.clients, "", &late).await;
    assert_eq!((got.status, got.code()), (400, "model_missing".into()));
    assert!(got.text().contains("before"), "it says what to do: {}", got.text());
    let body = format!("{{\"model\":\"test\",\"messages\":[{{\"content\":\"{prompt}\"}}]}}");
    let got = ask(&up.clients, "", &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(replica.requests()[0].body.len(), body.len());
    let service = up.snapshot().await["services"][0].clone();
    assert_eq!(service["unreplayable"], 1, "{service}");
    // Sent once: there is no copy left to try it again with.
    replica.behave(Behaviour::Reset);
    let got = ask(&up.clients, "", &body).await;
    assert_eq!((got.status, got.code()), (502, "replica_failed".into()));
    assert_eq!(replica.requests().len(), 2);
}
