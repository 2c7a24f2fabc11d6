use crate::load::{go, settings};
use crate::server::{Server, events, text, unary};
use evenkeel_drill::load::{Expect, LoadError, LoadSettings, Outcome, Silent, run};
use std::time::Duration;

#[tokio::test]
async fn a_wrong_answer_is_found() {
    let server = Server::start(|n| (n == 7).then(|| text(200, &unary("one three")))).await;
    let first = LoadSettings { expect: Expect::First, ..settings(&server, 2, 20) };
    let report = go(first).await;
    assert_eq!((report.totals.ok, report.count(Outcome::Wrong)), (19, 1));
    assert!(report.failures[0].text.contains("differs"), "{:?}", report.failures[0]);
    assert_eq!(server.seen()[0].1["temperature"], 0);
}

#[tokio::test]
async fn a_lost_and_a_doubled_token_of_a_stream_are_found() {
    let server = Server::start(|n| match n {
        3 => Some(events(&["one ", "three"], Duration::ZERO)),
        4 => Some(events(&["one ", "two ", "two ", "three"], Duration::ZERO)),
        5 => Some(events(&["one two ", "three"], Duration::ZERO)),
        _ => None,
    })
    .await;
    let reference = Server::start(|_| None).await;
    let compared = LoadSettings {
        expect: Expect::Reference(reference.url()),
        stream: true,
        prompts: 2,
        ..settings(&server, 1, 10)
    };
    let report = go(compared).await;
    assert_eq!(reference.count(), 2);
    // How text is cut into tokens is the server's own business.
    assert_eq!((report.totals.ok, report.count(Outcome::Wrong)), (8, 2));
}

#[tokio::test]
async fn a_reference_that_fails_ends_the_run_before_it_begins() {
    let server = Server::start(|_| None).await;
    let reference = Server::start(|_| Some(text(500, "broken"))).await;
    let compared =
        LoadSettings { expect: Expect::Reference(reference.url()), ..settings(&server, 1, 10) };
    let error = run(compared, &Silent, std::future::pending()).await.unwrap_err();
    assert!(matches!(&error, LoadError::Reference { why, .. } if why.contains("broken")));
    assert_eq!(server.count(), 0);
}
