//! Answers that go on, and how they end.

use crate::http::{start, start_with};
use evenkeel_domain::event::{EventKind, EventLog};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads until `text` has come.
async fn until(stream: &mut TcpStream, seen: &mut String, text: &str) {
    let mut buffer = [0; 4096];
    let reading = async {
        while !seen.contains(text) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "ended before {text:?}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(in_time.is_ok(), "{text:?} did not come: {seen}");
}

#[tokio::test]
async fn events_are_followed_from_the_last_id_until_the_end() {
    let log = Arc::new(EventLog::default());
    let server = start_with(None, |state| state.events = log.clone()).await;
    log.push(EventKind::Reloaded);
    log.push(EventKind::Draining);
    let headers = "Last-Event-ID: 1\r\n";
    let mut stream = server.open("GET /api/v1/events?follow=true", headers, "").await;
    let mut seen = String::new();
    until(&mut stream, &mut seen, "id: 2\ndata: {\"seq\":2,").await;
    assert!(seen.contains("content-type: text/event-stream") && !seen.contains("id: 1\n"));
    log.push(EventKind::ReloadRefused { why: "line\nbreak".into() });
    until(&mut stream, &mut seen, "id: 3\ndata: ").await;
    until(&mut stream, &mut seen, "line\\nbreak\"}\n\n").await;
    server.stop.send(()).unwrap();
    // The end of chunked coding: it ends, it does not break off.
    until(&mut stream, &mut seen, "\r\n0\r\n\r\n").await;
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_are_bounded_and_given_back() {
    let server = start().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = server.open("GET /api/v1/events?follow=true", "", "").await;
        until(&mut stream, &mut String::new(), "200 OK").await;
        open.push(stream);
    }
    let full = server.get("/api/v1/events?follow=true").await;
    assert_eq!(full.status, 503);
    assert_eq!(server.get("/livez").await.status, 200);
    drop(open);
    let freed = async {
        loop {
            let mut stream = server.open("GET /api/v1/logs/chat-0?follow=true", "", "").await;
            let mut seen = String::new();
            until(&mut stream, &mut seen, "\r\n").await;
            if seen.contains("200 OK") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}

#[tokio::test]
async fn logs_are_read_and_followed() {
    let server = start().await;
    let logs = server.get("/api/v1/logs/chat-0?lines=2").await;
    assert_eq!(logs.body(), "chat-0 line 198\nchat-0 line 199\n");
    assert_eq!(server.get("/api/v1/logs/chat-0").await.body().lines().count(), 100);
    *server.fake.new_lines.lock().unwrap() = vec!["new one".into(), "new two".into()];
    let mut log = server.client().logs("chat-0", 1, true).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("new two\n") {
        seen.push_str(&String::from_utf8_lossy(&log.next().await.unwrap().unwrap()));
    }
    assert_eq!(seen, "chat-0 line 199\nnew one\nnew two\n");
    server.stop.send(()).unwrap();
    assert_eq!(log.next().await.unwrap(), None);
}

#[tokio::test]
async fn only_logs_of_known_replicas_are_looked_up() {
    let server = start().await;
    for path in ["..%2F..%2Fetc%2Fpasswd", "chat-9", "%00"] {
        assert_eq!(server.get(&format!("/api/v1/logs/{path}")).await.status, 404, "{path}");
    }
    let external = server.get("/api/v1/logs/chat-2").await;
    assert_eq!(external.status, 404);
    assert!(external.body().contains("does not run chat-2"), "{}", external.body());
}

#[tokio::test]
async fn who_has_just_connected_at_the_end_is_still_answered() {
    let server = start().await;
    let mut early = TcpStream::connect(server.address).await.unwrap();
    // Connections are accepted in order: by this answer the one before has been.
    assert_eq!(server.get("/livez").await.status, 200);
    server.stop.send(()).unwrap();
    until_refused(server.address).await;
    early.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    early.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    server.served.await.unwrap().unwrap();
}

/// Waits until nobody accepts there any more.
async fn until_refused(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it stops accepting");
}

#[tokio::test]
async fn a_way_is_held_until_its_holder_is_gone() {
    let server = start().await;
    let body = r#"{"to":"127.0.0.1:4000","owner":"drill","why":"cut"}"#;
    let mut stream = server.open("POST /api/v1/replicas/chat-0/detour", "", body).await;
    until(&mut stream, &mut String::new(), "held\n").await;
    let orders = || server.fake.orders.lock().unwrap().clone();
    assert_eq!(orders(), ["detour chat-0 127.0.0.1:4000 drill cut"]);
    // Nothing is said at the end of one that is killed.
    drop(stream);
    let let_go = async {
        while orders().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), let_go).await.is_ok());
    assert_eq!(orders()[1], "straight");
    let body = r#"{"ahead_ms":-3600000,"owner":"drill"}"#;
    let mut stream = server.open("POST /api/v1/clock", "", body).await;
    until(&mut stream, &mut String::new(), "held\n").await;
    assert_eq!(orders()[2], "clock -3600000 drill ");
    assert_eq!(server.post("/api/v1/clock", r#"{"ahead_ms":0}"#).await.status, 400);
    for (name, to, status) in
        [("nobody", "127.0.0.1:4000", 404), ("chat-0", "10.0.0.1:80", 400), ("chat-0", "here", 400)]
    {
        let body = format!(r#"{{"to":"{to}"}}"#);
        let path = format!("/api/v1/replicas/{name}/detour");
        assert_eq!(server.post(&path, &body).await.status, status, "{to}");
    }
}
