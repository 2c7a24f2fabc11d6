//! What a client may send, and how it is refused.

use crate::support::{Up, Wire, ask, chat, padding, post, raw, service, two_services, until};
use evenkeel_domain::clock::now;
use evenkeel_testkit::{Behaviour, Replica};
use std::time::Duration;

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn malformed_requests_are_refused_and_harm_nobody() {
    let replica = Replica::start(Behaviour::Good).await;
    let limits = "[gateway.limits]\nheader_time = \"1s\"\nbody_idle = \"500ms\"\n";
    let bounds = "max_body = 65536\nmax_replay = 65536";
    let up = Up::with(limits, &two_services(bounds, &replica)).await.ready().await;
    let good = chat("hello", 4, false);
    let json = |body: &str| post(PATH, "", body);
    let start = "POST /v1/chat/completions HTTP/1.1\r\n";
    let chunked = format!("{start}host: test\r\ntransfer-encoding: chunked\r\n\r\n");
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let twice = format!("{start}host: test\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd");
    let large = chat(&padding(70_000), 4, false);
    // What is no HTTP at all is answered by its status alone.
    let unread = "";
    let table = [
        ("bad JSON", json("{\"model\":"), 400, "invalid_json"),
        ("no JSON object", json("[1]"), 400, "invalid_json"),
        ("a model twice", json("{\"model\":\"test\",\"model\":\"other\"}"), 400, "invalid_json"),
        ("unknown model", json("{\"model\":\"nobody\"}"), 404, "model_not_found"),
        ("no model", json("{\"messages\":[]}"), 400, "model_missing"),
        ("a model that is a number", json("{\"model\":5}"), 400, "invalid_type"),
        ("too large", json(&large), 413, "body_too_large"),
        (
            "too large, in chunks",
            format!("{chunked}{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
            413,
            "body_too_large",
        ),
        ("a chunk without a size", format!("{chunked}zz\r\nabc\r\n"), 400, "body_incomplete"),
        ("a body that stands still", format!("{chunked}5\r\nab"), 408, "body_timeout"),
        (
            "a deadline that is none",
            post(PATH, "x-request-timeout: soon\r\n", &good),
            400,
            "bad_request",
        ),
        ("no such path", "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n".into(), 404, "not_found"),
        ("no host", format!("{start}content-length: 2\r\n\r\n{{}}"), 400, "bad_request"),
        ("two hosts", post(PATH, "host: other\r\n", &good), 400, "bad_request"),
        ("CONNECT", "CONNECT test:80 HTTP/1.1\r\nhost: test\r\n\r\n".into(), 400, "bad_request"),
        ("a huge header", post(PATH, &format!("x: {}\r\n", padding(100_000)), &good), 431, unread),
        ("too many headers", post(PATH, &many, &good), 431, unread),
        ("two lengths", twice, 400, unread),
        ("no HTTP", "hello\r\n\r\n".into(), 400, unread),
    ];
    let mut neighbour = Wire::open(&up.clients).await;
    for (what, request, status, code) in table {
        let got = raw(&up.clients, request).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(got.status, status, "{what}: {}", got.text());
        if code != unread {
            assert_eq!(got.code(), code, "{what}");
        }
        neighbour.send(json(&good)).await;
        let got = neighbour.answer().await.unwrap_or_else(|e| panic!("after {what}: {e}"));
        assert_eq!(got.status, 200, "after {what}");
    }
    let seen = replica.requests();
    assert!(seen.iter().all(|r| r.body == good), "only good requests reach a replica");
    assert!(up.replicas().await.iter().all(|r| r["health"] == "healthy"));
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let hidden = post(PATH, "x-hidden: 1\r\n", &chat("hidden", 1, false));
    let length = hidden.len();
    let start = format!("POST {PATH} HTTP/1.1\r\nhost: test\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    // Each is read in one way by some servers and in another way by others.
    let table = [
        ("length with a sign", format!("{start}content-length: +{length}\r\n\r\n{hidden}")),
        ("length with a list", format!("{start}content-length: 0, {length}\r\n\r\n{hidden}")),
        ("length in hex", format!("{start}content-length: 0x0\r\n\r\n{hidden}")),
        (
            "lengths that differ",
            format!("{start}content-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "chunks by another name",
            format!("{start}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunks not last",
            format!("{start}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunks and no chunks",
            format!("{start}{chunked}transfer-encoding: identity\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        ("space before the colon", format!("{start}content-length : {length}\r\n\r\n{hidden}")),
        ("a folded line", format!("{start}x: 1\r\n content-length: {length}\r\n\r\n{hidden}")),
        ("a NUL", format!("{start}x: \0\r\ncontent-length: 0\r\n\r\n{hidden}")),
        ("a chunk of minus one", format!("{start}{chunked}\r\n-1\r\n{hidden}")),
        ("a chunk beyond 64 bits", format!("{start}{chunked}\r\n10000000000000000\r\n{hidden}")),
        (
            "chunks in HTTP/1.0",
            format!("POST {PATH} HTTP/1.0\r\nhost: test\r\n{chunked}\r\n0\r\n\r\n{hidden}"),
        ),
    ];
    for (what, request) in table {
        let mut wire = Wire::open(&up.clients).await;
        wire.send(request).await;
        let status = wire.answer().await.map_or(0, |answer| answer.status);
        assert!(status == 0 || (400..500).contains(&status), "{what}: {status}");
        assert!(wire.answer().await.is_err(), "{what}: a second answer");
    }
    let seen = replica.requests();
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_refusal_reaches_who_is_still_sending() {
    let replica = Replica::start(Behaviour::Good).await;
    let bounds = "max_body = 65536\nmax_replay = 65536";
    let up = Up::start(&two_services(bounds, &replica)).await.ready().await;
    for _ in 0..10 {
        let mut wire = Wire::open(&up.clients).await;
        let large = chat(&padding(4 << 20), 4, false);
        wire.send(post(PATH, "", &large)).await;
        let got = wire.answer().await;
        assert_eq!(got.map(|a| a.status), Ok(413));
    }
    // Who asks first is told before it sends.
    let mut wire = Wire::open(&up.clients).await;
    wire.send(format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: \
         99999999999\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.map(|a| a.status), Ok(413));
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let mut wire = Wire::open(&up.clients).await;
    let all: String = (1..=20)
        .map(|n| {
            post(PATH, &format!("x-request-id: n{n}\r\n"), &chat(&format!("p{n}"), n, n % 2 == 0))
        })
        .collect();
    wire.send(all).await;
    for n in 1..=20 {
        let got = wire.answer().await.expect("an answer each");
        assert_eq!(got.header("x-request-id"), Some(format!("n{n}").as_str()));
        assert_eq!(got.status, 200);
    }
}

#[tokio::test]
async fn slow_and_broken_clients_are_let_go() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::with("[gateway.limits]\nheader_time = \"700ms\"\n", &two_services("", &replica))
        .await
        .ready()
        .await;
    // A head that never ends, byte by byte.
    let mut slow = Wire::open(&up.clients).await;
    let began = now();
    slow.send("POST /v1/chat/completions HTTP/1.1\r\nhost: te").await;
    // A body that breaks off.
    let mut broken = Wire::open(&up.clients).await;
    broken
        .send(format!("POST {PATH} HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n{{"))
        .await;
    drop(broken);
    let ended = slow.answer().await;
    assert!(ended.as_ref().map_or(true, |a| a.status == 408), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until("no connection is left", || async {
        (up.snapshot().await["gateway"]["connections"] == 0).then_some(())
    })
    .await;
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    assert_eq!(replica.requests().len(), 1);
}

#[tokio::test]
async fn odd_but_valid_requests_are_served() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&two_services("", &replica)).await.ready().await;
    let good = chat("hello", 4, false);
    let length = good.len();
    let json = "content-type: application/json\r\n";
    let old = format!("POST {PATH} HTTP/1.0\r\n{json}content-length: {length}\r\n\r\n{good}");
    let absolute = post(&format!("http://test{PATH}"), "", &good);
    // Both lengths: the chunks count (RFC 9112, 6.3), and the replica gets one length.
    let both = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\n{json}content-length: 3\r\ntransfer-encoding: \
         chunked\r\n\r\n{length:x}\r\n{good}\r\n0\r\n\r\n"
    );
    let expecting = post(PATH, "expect: 100-continue\r\n", &good);
    for (what, request) in [("HTTP/1.0", old), ("absolute form", absolute), ("both lengths", both)]
    {
        let got = raw(&up.clients, request).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(got.status, 200, "{what}: {}", got.text());
    }
    let mut wire = Wire::open(&up.clients).await;
    wire.send(expecting).await;
    assert_eq!(wire.head().await.map(|a| a.status), Ok(100));
    assert_eq!(wire.answer().await.map(|a| a.status), Ok(200));
    for seen in replica.requests() {
        assert_eq!((seen.path.as_str(), &seen.body[..]), (PATH, good.as_bytes()));
        assert!(!seen.headers.contains_key("transfer-encoding"), "{:?}", seen.headers);
        assert_eq!(seen.headers["content-length"], length.to_string());
    }
}
