//! What a client may send, what it gets, and what the replica sees of it.

use crate::support::{Model, SOON, Up, Wire, ask, chat, post, raw, service, until, until_so};
use evenkeel_domain::clock::now;
use evenkeel_testkit::{Behaviour, Replica, answer, ports, tempdir};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How soon a replica must know that a client has left.
const CANCEL: Duration = Duration::from_millis(100);
const PATH: &str = "/v1/chat/completions";

/// One service for the model `test` with this replica, and a second service.
fn two_services(settings: &str, replica: &Replica) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\"]\n{settings}\n[[service.replica]]\nurl = \
         \"{url}\"\n[[service]]\nname = \"other\"\nmodels = [\"other\"]\n[[service.replica]]\nurl \
         = \"{url}\"\n",
        url = replica.url()
    )
}

/// A text that is no answer at all.
fn padding(bytes: usize) -> String {
    "x".repeat(bytes)
}

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

#[tokio::test]
async fn who_leaves_is_not_worked_for() {
    let gap = Duration::from_millis(50);
    let replica = Replica::start(Behaviour::Hang).await;
    let up =
        Up::start(&service("probe = { kind = \"tcp\" }", &[replica.url()])).await.ready().await;
    let left = |begun: u64| {
        let replica = &replica;
        async move {
            let at = now();
            replica.wait_for(SOON, |c| c.cancelled == begun).await.expect("the replica is told");
            let ended = replica.requests()[begun as usize - 1].ended.expect("it ended").0;
            let after = ended.saturating_duration_since(at);
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
    let model = crate::support::model_at(&address.to_string()).await;
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

#[tokio::test]
async fn names_and_credentials_are_the_replicas_own() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "of-the-replica\n").expect("a file can be written");
    let up = Up::start(&format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\", \"nick\"]\naliases = {{ nick = \
         \"test\" }}\n[[service.replica]]\nurl = \"{}\"\nbearer_file = \"{}\"\nheaders = {{ \
         x-own = \"1\" }}\n",
        replica.url(),
        secret.display()
    ))
    .await
    .ready()
    .await;
    let own = "authorization: Bearer of-the-client\r\nx-api-key: k\r\napi-key: k\r\n\
               x-request-id: mine-1\r\nx-kept: yes\r\nconnection: x-hop\r\nx-hop: 1\r\n";
    let body = chat("hello", 4, false).replace("\"test\"", "\"nick\"");
    let got = ask(&up.clients, own, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("x-request-id"), Some("mine-1"));
    let seen = &replica.requests()[0];
    let body: Value = serde_json::from_slice(&seen.body).expect("the replica gets JSON");
    assert_eq!(body["model"], "test");
    let sent = |name: &str| seen.headers.get(name).and_then(|v| v.to_str().ok());
    assert_eq!(sent("authorization"), Some("Bearer of-the-replica"));
    assert_eq!((sent("x-own"), sent("x-kept")), (Some("1"), Some("yes")));
    assert_eq!(sent("x-request-id"), Some("mine-1"));
    assert_eq!((sent("x-api-key"), sent("api-key"), sent("x-hop")), (None, None, None));
    let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
    let given = got.header("x-request-id").expect("every answer has one");
    assert!(given.len() == 32 && replica.requests()[1].headers["x-request-id"] == given);
    let list = crate::support::get(&up.clients, "/v1/models").await.json();
    let names: Vec<_> = list["data"].as_array().into_iter().flatten().map(|m| &m["id"]).collect();
    assert!(names.contains(&&Value::from("nick")), "{list}");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    let replica = Replica::start(Behaviour::Good).await;
    let cors = "[gateway.cors]\norigins = [\"https://app.example\"]\n";
    let up = Up::with(cors, &service("", &[replica.url()])).await.ready().await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS {PATH} HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: \
             authorization\r\n\r\n"
        )
    };
    let got = raw(&up.clients, preflight("https://app.example")).await.expect("an answer");
    assert_eq!(got.status, 204);
    assert_eq!(got.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(got.header("access-control-allow-headers"), Some("authorization"));
    let asking = |origin: &'static str| {
        let clients = up.clients.clone();
        async move { ask(&clients, origin, &chat("hello", 4, false)).await }
    };
    let got = asking("origin: https://app.example\r\n").await;
    assert_eq!(got.header("access-control-allow-origin"), Some("https://app.example"));
    let got = asking("origin: https://evil.example\r\n").await;
    assert_eq!(got.header("access-control-allow-origin"), None);
}

/// One request as text, head and body.
async fn next_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split_once("content-length: ").map_or("0", |(_, rest)| rest);
            let length: usize = length.lines().next()?.trim().parse().ok()?;
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A server that dies of a prompt with `poison` in it, and answers all others.
async fn mortal(deaths: Arc<AtomicU32>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it has an address"));
    let task = tokio::spawn(async move {
        let (die, mut dying) = tokio::sync::mpsc::channel::<()>(1);
        let mut open = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                _ = dying.recv() => break,
                Ok((mut stream, _)) = listener.accept() => {
                    let die = die.clone();
                    open.spawn(async move {
                        while let Some(request) = next_request(&mut stream).await {
                            if request.contains("poison") {
                                let _ = die.send(()).await;
                                return std::future::pending().await;
                            }
                            let body = answer::text("hello", 1);
                            let body = format!(
                                "{{\"choices\":[{{\"message\":{{\"content\":\"{body}\"}},\
                                 \"finish_reason\":\"stop\"}}]}}"
                            );
                            let head = format!(
                                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                                 content-length: {}\r\n\r\n", body.len()
                            );
                            let _ = stream.write_all((head + &body).as_bytes()).await;
                        }
                    });
                }
            }
        }
        deaths.fetch_add(1, SeqCst);
    });
    (url, task)
}

#[tokio::test]
async fn a_query_of_death_does_not_walk_through_the_fleet() {
    let deaths = Arc::new(AtomicU32::new(0));
    let mut urls = Vec::new();
    for _ in 0..6 {
        urls.push(mortal(deaths.clone()).await.0);
    }
    let up = Up::start(&service("", &urls)).await.ready().await;
    let poison = chat("poison", 1, false);
    let got = ask(&up.clients, "", &poison).await;
    assert_eq!((got.status, got.code()), (502, "query_of_death".into()));
    assert_eq!(deaths.load(SeqCst), 3);
    let got = ask(&up.clients, "", &poison).await;
    assert_eq!((got.status, got.code()), (502, "query_of_death".into()));
    assert_eq!(deaths.load(SeqCst), 3, "its like is not tried again");
    assert_eq!(ask(&up.clients, "", &chat("hello", 1, false)).await.status, 200);
    assert_eq!(up.snapshot().await["services"][0]["quarantined"], 1);
}

#[tokio::test]
async fn an_old_replica_makes_no_old_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it has an address"));
    let old = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                next_request(&mut stream).await;
                let answer = "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nold but good";
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let up = Up::start(&format!(
        "[[service]]\nname = \"old\"\nprotocol = \"http\"\n[[service.route]]\npath = \
         \"/\"\n[[service.replica]]\nurl = \"{url}\"\n"
    ))
    .await
    .ready()
    .await;
    let mut client = Wire::open(&up.clients).await;
    for _ in 0..3 {
        client.send("GET /x HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert_eq!(client.read_until(b"\r\n").await, Ok(b"HTTP/1.1 200 OK\r\n".to_vec()));
        let rest = client.rest_of_answer().await.expect("the rest of the answer");
        assert_eq!(rest.text(), "old but good");
    }
    old.abort();
}

#[tokio::test]
async fn websockets_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it has an address"));
    let echo = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let up = Up::start(&format!(
        "[[service]]\nname = \"ws\"\nprotocol = \"http\"\nprobe = {{ kind = \"tcp\" }}\n\
         [[service.route]]\npath = \"/ws\"\n[[service.replica]]\nurl = \"{url}\"\n"
    ))
    .await
    .ready()
    .await;
    let mut client = Wire::open(&up.clients).await;
    client
        .send(
            "GET /ws/x HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
        )
        .await;
    let head = client.head().await.expect("an answer");
    assert_eq!(head.status, 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("sec-websocket-accept"), Some("as told"));
    for n in 0..3 {
        let said = format!("frame {n};");
        client.send(&said).await;
        assert_eq!(client.read_until(b";").await, Ok(said.into_bytes()));
    }
    drop(client);
    until("it is over", || async {
        (up.snapshot().await["services"][0]["active"] == 0).then_some(())
    })
    .await;
    echo.abort();
}

/// Agrees to a WebSocket and says what it hears.
async fn echo(mut stream: TcpStream) {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: \
                  websocket\r\nsec-websocket-accept: as told\r\n\r\n";
    let _ = stream.write_all(agreed.as_bytes()).await;
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

/// A certificate for 127.0.0.1, signed by itself.
fn certificate(dir: &std::path::Path, name: &str) {
    let mut wanted = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("an address");
    wanted.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let cert = wanted.self_signed(&key).expect("it can be signed");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("a file can be written");
    std::fs::write(dir.join("cert.pem"), cert.pem()).expect("a file can be written");
}

/// What curl says.
async fn curl(args: &[&str]) -> String {
    let mut command = tokio::process::Command::new("curl");
    let ran = command.args(["-sS", "--max-time", "5"]).args(args).kill_on_drop(true).output().await;
    let ran = ran.expect("curl runs");
    let err = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}: {err}");
    String::from_utf8_lossy(&ran.stdout).into_owned() + &err
}

#[tokio::test]
async fn foreign_curl_speaks_http2_without_tls() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let url = up.url() + PATH;
    let body = chat("hello", 4, false);
    let json = "content-type: application/json";
    let format = "\n%{http_version} %{http_code}";
    let said =
        curl(&["--http2-prior-knowledge", "-w", format, "-H", json, "-d", &body, &url]).await;
    assert!(said.ends_with("2 200") && said.contains(&answer::text("hello", 4)), "{said}");
    let stream = chat("hello", 4, true);
    let said = curl(&["--http2-prior-knowledge", "-N", "-H", json, "-d", &stream, &url]).await;
    assert!(said.trim_end().ends_with("data: [DONE]"), "{said}");
}

#[tokio::test]
async fn foreign_curl_speaks_tls_and_a_new_certificate_is_taken() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    certificate(dir.path(), "first");
    let [cert, key] = ["cert.pem", "key.pem"].map(|f| dir.path().join(f).display().to_string());
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n");
    let up = Up::with(&tls, &service("", &[replica.url()])).await.ready().await;
    let url = format!("https://{}{PATH}", up.clients);
    let body = chat("hello", 4, false);
    let json = "content-type: application/json";
    let format = "\n%{http_version} %{http_code}";
    for (version, flag) in [("2", "--http2"), ("1.1", "--http1.1")] {
        let said =
            curl(&["--cacert", &cert, flag, "-w", format, "-H", json, "-d", &body, &url]).await;
        assert!(said.ends_with(&format!("{version} 200")), "{said}");
    }
    certificate(dir.path(), "second");
    until("the new certificate is shown", || async {
        let mut command = tokio::process::Command::new("curl");
        let ran = command.args(["-sSv", "--cacert", &cert, "-H", json, "-d", &body, &url]);
        let ran = ran.kill_on_drop(true).output().await.expect("curl runs");
        String::from_utf8_lossy(&ran.stderr).contains("CN=second").then_some(())
    })
    .await;
    let said = curl(&["--cacert", &cert, "-w", format, "-H", json, "-d", &body, &url]).await;
    assert!(said.ends_with(" 200"), "{said}");
}

#[tokio::test]
async fn what_replicas_do_wrong_is_not_passed_on() {
    let [bad, good] =
        [Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await];
    let up = Up::start(&service("", &[bad.url(), good.url()])).await.ready().await;
    for fault in [
        Behaviour::Close,
        Behaviour::Reset,
        Behaviour::Empty,
        Behaviour::TruncatedJson,
        Behaviour::Status { status: 500, retry_after: None },
        Behaviour::Status { status: 429, retry_after: Some(1) },
    ] {
        bad.script(std::iter::repeat_n(fault.clone(), 2));
        for _ in 0..4 {
            let got = ask(&up.clients, "", &chat("hello", 4, false)).await;
            assert_eq!(got.status, 200, "{fault:?}: {}", got.text());
            let text = got.json()["choices"][0]["message"]["content"].clone();
            assert_eq!(text, answer::text("hello", 4), "{fault:?}");
        }
    }
    until_so("faults were met", || bad.counts().begun > 0).await;
}
