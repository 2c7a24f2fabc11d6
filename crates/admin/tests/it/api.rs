//! Who may do what, and what comes of it.

use crate::http::{start, start_with};
use evenkeel_admin::client::{ClientError, ReplicaOrder};
use evenkeel_admin::{AdminClient, openapi};
use evenkeel_domain::event::EventKind;
use evenkeel_domain::job::JobOrder;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::{Health, clock};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_snapshot_tells_all_but_secrets() {
    let server = start().await;
    let snapshot = server.client().snapshot().await.unwrap();
    assert!(snapshot.ready);
    let (chat, batch) = (&snapshot.services[0], &snapshot.services[1]);
    assert_eq!((&*chat.name, &*chat.tier, chat.open, chat.expected), ("chat", "core", 1, 3));
    assert_eq!((chat.requests["ok"], chat.requests["stalled"], chat.retries), (99, 1, 4));
    assert!(chat.requests_per_second > 0.0 && chat.errors_per_second > 0.0);
    let p50 = chat.first_byte.p50_ms.unwrap();
    assert!((40.0..=51.0).contains(&p50), "{p50}");
    let healths: Vec<_> = chat.replicas.iter().map(|r| (&*r.health, &*r.gate)).collect();
    assert_eq!(healths, [("healthy", "open"), ("suspect", "last_resort"), ("isolated", "shut")]);
    assert_eq!(chat.replicas[0].process.as_ref().unwrap().pid, Some(4242));
    assert_eq!(chat.replicas[1].process.as_ref().unwrap().phase, "crash_loop");
    assert!(chat.replicas[2].process.is_none());
    assert!(chat.replicas[0].since_unix_ms <= snapshot.at_unix_ms);
    // Its process is there, but it is no member of the pool yet.
    assert_eq!((&*batch.replicas[0].name, &*batch.replicas[0].health), ("batch-0", "starting"));
    assert_eq!(snapshot.overrides[0].owner, "night shift");
    assert!(!server.get("/api/v1/snapshot").await.text.contains("replica-secret"));
}

#[tokio::test]
async fn a_token_is_needed_where_one_is_set() {
    let server = start_with(Some("open sesame"), |_| {}).await;
    for path in ["/api/v1/snapshot", "/api/v1/openapi.json", "/nothing"] {
        let refused = server.get(path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.text.to_lowercase().contains("www-authenticate: bearer"));
        let wrong = server.ask(&format!("GET {path}"), "authorization: Bearer no\r\n", "").await;
        assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (401, &"unauthorized".into()));
    }
    assert_eq!(server.post("/api/v1/stop", "").await.status, 401);
    for free in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.get(free).await.status, 200, "{free}");
    }
    // The token decides alone: what the browser rules refuse passes with it.
    let headers = "host: ops.example\r\norigin: https://x\r\nauthorization: Bearer open sesame\r\n";
    assert_eq!(server.ask("POST /api/v1/reload", headers, "").await.status, 202);
    assert!(server.client().snapshot().await.is_ok());
}

#[tokio::test]
async fn pages_in_browsers_are_kept_out() {
    let server = start().await;
    let rebound = "host: evil.example:9900\r\n";
    assert_eq!(server.ask("POST /api/v1/stop", rebound, "").await.status, 403);
    assert_eq!(server.ask("GET /api/v1/snapshot", rebound, "").await.status, 403);
    assert_eq!(server.ask("GET /readyz", rebound, "").await.status, 200);
    let page = "origin: https://evil.example\r\n";
    assert_eq!(server.ask("POST /api/v1/stop", page, "").await.status, 403);
    assert_eq!(server.ask("POST /api/v1/reload", "origin: null\r\n", "").await.status, 403);
    assert!(server.fake.orders.lock().unwrap().is_empty());
    let configured = "host: ops.internal:1\r\n";
    assert_eq!(server.ask("POST /api/v1/reload", configured, "").await.status, 202);
}

#[tokio::test]
async fn orders_reach_control() {
    let server = start().await;
    let client = server.client();
    let half = Some(Duration::from_secs(1800));
    client.replica_order(ReplicaOrder::Drain, "chat-0", "me", half).await.unwrap();
    client.replica_order(ReplicaOrder::Isolate, "chat-1", "me", None).await.unwrap();
    client.replica_order(ReplicaOrder::Undrain, "chat/é", "", None).await.unwrap();
    client.replica_order(ReplicaOrder::Restart, "chat-0", "me", None).await.unwrap();
    client.restart_service("chat").await.unwrap();
    client.degrade("chat", Some(3), "me", half).await.unwrap();
    client.degrade("chat", None, "me", None).await.unwrap();
    client.scale("chat", Some(3), "me", half).await.unwrap();
    client.job("train", JobOrder::Restart).await.unwrap();
    client.job("train", JobOrder::Stop).await.unwrap();
    client.reload().await.unwrap();
    client.upgrade(None).await.unwrap();
    client.stop().await.unwrap();
    let expected = [
        "drain chat-0 me Some(1800s)",
        "isolate chat-1 me None",
        "undrain chat/é",
        "restart chat-0",
        "restart service chat",
        "degrade chat Some(3) by me for Some(1800s)",
        "degrade chat None by me for None",
        "scale chat Some(3) by me for Some(1800s)",
        "Restart job train",
        "Stop job train",
        "reload",
        "upgrade None",
        "stop",
    ];
    assert_eq!(*server.fake.orders.lock().unwrap(), expected);
}

#[tokio::test]
async fn refused_orders_say_why_and_what_helps() {
    let server = start().await;
    let refused = server.post("/api/v1/replicas/nobody/drain", "").await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.json()["error"]["remedy"], "`evenkeel status` lists them");
    assert_eq!(server.post("/api/v1/replicas/external/restart", "").await.status, 409);
    for (path, body) in [
        ("/api/v1/replicas/chat-0/drain", "{\"for\":\"soon\"}"),
        ("/api/v1/replicas/chat-0/undrain", "{\"for\":\"1m\"}"),
        ("/api/v1/replicas/chat-0/drain", "nonsense"),
        ("/api/v1/services/chat/degrade", "{\"level\":7}"),
        ("/api/v1/replicas/chat-0/drain", "{\"owner\":\"\\u001b[2J\"}"),
        ("/api/v1/upgrade", "{\"binary\":\"no/absolute/path\"}"),
    ] {
        assert_eq!(server.post(path, body).await.status, 400, "{path} {body}");
    }
    let large = format!("{{\"owner\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(server.post("/api/v1/replicas/chat-0/drain", &large).await.status, 413);
    assert_eq!(server.get("/api/v1/stop").await.status, 405);
    assert_eq!(server.get("/api/v2").await.json()["error"]["code"], "not_found");
    assert!(server.fake.orders.lock().unwrap().is_empty());
    let error = server.client().replica_order(ReplicaOrder::Drain, "nobody", "", None).await;
    let Err(ClientError::Refused { status: 404, code, .. }) = error else { panic!("{error:?}") };
    assert_eq!(code, "not_found");
}

#[tokio::test]
async fn readiness_follows_the_core_services() {
    let server = start().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    let pool = &server.fake.services[0].1;
    let first = pool.members()[0].clone();
    first.live.set_health(Health::Suspect, false, "late".into(), clock::now());
    let not = server.get("/readyz").await;
    assert_eq!((not.status, &not.json()["not_ready"][0]), (503, &"chat".into()));
    first.live.set_health(Health::Healthy, false, "fine".into(), clock::now());
    server.fake.draining.store(true, Relaxed);
    let not = server.get("/readyz").await;
    assert_eq!((not.status, &not.json()["draining"]), (503, &true.into()));
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn events_are_read_from_a_cursor() {
    let log = std::sync::Arc::new(evenkeel_domain::event::EventLog::default());
    let server = start_with(None, |state| state.events = log.clone()).await;
    for _ in 0..3 {
        log.push(EventKind::Reloaded);
    }
    let client = server.client();
    let seqs = |events: Vec<evenkeel_domain::event::Event>| {
        events.into_iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(client.events(0).await.unwrap()), [1, 2, 3]);
    assert_eq!(seqs(client.events(2).await.unwrap()), [3]);
    // A cursor of a process before this one.
    assert_eq!(seqs(client.events(99).await.unwrap()), [1, 2, 3]);
    assert_eq!(client.snapshot().await.unwrap().cursor, 3);
    assert_eq!(server.get("/api/v1/events?after=x").await.status, 400);
}

#[tokio::test]
async fn who_is_not_there_is_named_with_a_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = AdminClient::new(&address, None, None).unwrap().snapshot().await.unwrap_err();
    assert!(matches!(error, ClientError::Nobody { .. }));
    let text = error.to_string();
    assert!(text.starts_with(&format!("nobody answers at {address}: is `evenkeel up` running?")));
}

#[tokio::test]
async fn it_does_not_listen_openly_without_token_and_tls() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let state = crate::fake::Fake::new().state(Some("t"));
    let refused = evenkeel_admin::serve(state, vec![listener], None, async {}).await.unwrap_err();
    assert!(refused.to_string().contains("without TLS"), "{refused}");
}

#[tokio::test]
async fn it_is_reached_over_tls_with_the_right_authority_only() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let identity = evenkeel_wire::tls::ServerIdentity::load(&cert, &key).unwrap();
    let tls = evenkeel_wire::tls::server(identity, None).unwrap();
    // Anywhere: with a token and TLS that is allowed.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = crate::fake::Fake::new().state(Some("t"));
    tokio::spawn(evenkeel_admin::serve(state, vec![listener], Some(tls), std::future::pending()));
    let token = || Some(Secret::new("t".into()));
    let url = format!("https://localhost:{port}");
    let client = AdminClient::new(&url, token(), Some(cert)).unwrap();
    assert!(client.snapshot().await.unwrap().ready);
    std::fs::write(&key, rcgen::generate_simple_self_signed(vec![]).unwrap().cert.pem()).unwrap();
    let stranger = AdminClient::new(&url, token(), Some(key)).unwrap();
    assert!(matches!(stranger.snapshot().await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn the_document_describes_every_path() {
    let server = start().await;
    let served = server.get("/api/v1/openapi.json").await;
    let document: serde_json::Value = served.json();
    assert_eq!(document, serde_json::to_value(openapi()).unwrap());
    let paths: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let routes = include_str!("../../src/api/mod.rs").split(".route(\"").skip(1);
    let routes = routes.map(|rest| rest.split('"').next().unwrap().to_owned());
    assert_eq!(paths, routes.collect());
    for path in paths {
        let known = path.replace("{name}", "chat-0");
        let method = if document["paths"][&path].get("get").is_some() { "GET" } else { "POST" };
        let answer = server.ask(&format!("{method} {known}"), "", "").await;
        assert!(![404, 405].contains(&answer.status), "{method} {known}: {}", answer.status);
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in ["Snapshot", "ServiceView", "ReplicaView", "ProcessView", "ErrorBody"] {
        assert!(schemas.contains_key(name), "{name}");
    }
}
