//! What every channel does, against a server that answers by script.

use super::{KINDS, make};
use crate::settings::ChannelSettings;
use crate::stage::Answer;
use evenkeel_domain::alert::{Acknowledged, Alert, Finding, Kind, Labels, Message, Severity};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives the same answer to every connection.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, heard) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (counted, kept) = (asked.clone(), heard.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut all = Vec::new();
                    let mut buffer = [0; 8192];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        all.extend_from_slice(&buffer[..n]);
                        if whole(&all) {
                            break;
                        }
                    }
                    kept.lock().unwrap().extend_from_slice(&all);
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        // It never answers.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { port, asked, heard }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/s3cret-path", self.port)
    }

    fn body(&self) -> Value {
        let heard = self.heard.lock().unwrap();
        let text = String::from_utf8_lossy(&heard);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    fn head(&self) -> String {
        let heard = self.heard.lock().unwrap();
        String::from_utf8_lossy(&heard).split("\r\n\r\n").next().unwrap_or_default().to_owned()
    }
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase();
    let length =
        length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    body.len() >= length.unwrap_or(0usize)
}

fn settings(kind: &str, url: &str) -> ChannelSettings {
    let mut all = json!({ "name": "x", "kind": kind, "url": url, "timeout": "2s" });
    if kind == "pagerduty" {
        all["secret"] = "R0UT1NG".into();
    }
    serde_json::from_value(all).unwrap()
}

fn message(kind: Kind) -> Message {
    let finding = Finding {
        key: "no_replica:chat".into(),
        alert: "no_replica".into(),
        severity: Severity::Page,
        service: "chat".into(),
        labels: Labels::new(),
        what: "chat: no replica takes traffic <!channel> `".into(),
        why: "all\nare gone".into(),
        affected: "everybody".into(),
        done: vec!["restarted chat-0".into()],
        next: "evenkeel incident list".into(),
        since: None,
        lasting: 0,
    };
    let resolved = (kind == Kind::Resolved).then_some(1_717_200_009_000);
    let acknowledged =
        (kind == Kind::Acknowledged).then(|| Acknowledged { owner: "ada".into(), at: 1 });
    let alert = Alert {
        id: "1-2".into(),
        finding,
        since: 1_717_200_000_000,
        fired: 1_717_200_003_000,
        resolved,
        acknowledged,
        silenced: None,
        group: "pages".into(),
        told: ["x".to_owned()].into(),
    };
    Message {
        id: "1-7".into(),
        seq: 7,
        channel: "x".into(),
        group: "pages".into(),
        episode: "1-2".into(),
        kind,
        alerts: vec![alert],
        more: 0,
        open: false,
        at: 1_717_200_004_000,
        tries: 0,
        due: 0,
        error: None,
    }
}

/// What the server of each kind says to what it took.
const GOOD: [(&str, &str); 4] = [
    ("webhook", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("slack", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("pagerduty", "HTTP/1.1 202 Accepted\r\ncontent-length: 20\r\n\r\n{\"status\":\"success\"}"),
    ("alertmanager", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
];

async fn ask(kind: &str, answer: &'static str) -> (Answer, Server) {
    let server = Server::start(answer).await;
    let channel = make(&settings(kind, &server.url())).unwrap();
    assert!(!channel.place().contains("s3cret"), "{}", channel.place());
    (channel.send(&message(Kind::Fires)).await, server)
}

fn why(answer: &Answer) -> &str {
    match answer {
        Answer::Delivered(said) => panic!("delivered: {said}"),
        Answer::Retryable { why, .. } | Answer::Permanent(why) => why,
    }
}

#[tokio::test]
async fn every_kind_sends_once_and_knows_its_good_answer() {
    for (kind, good) in GOOD {
        for told in [Kind::Fires, Kind::Acknowledged, Kind::Resolved, Kind::Repeats] {
            let server = Server::start(good).await;
            let channel = make(&settings(kind, &server.url())).unwrap();
            let answer = channel.send(&message(told)).await;
            assert!(matches!(answer, Answer::Delivered(_)), "{kind} {told:?}: {answer:?}");
            assert_eq!(server.asked.load(SeqCst), 1, "{kind}");
            assert!(server.body().is_object() || server.body().is_array(), "{kind}");
        }
    }
}

#[tokio::test]
async fn every_kind_tells_not_now_from_never() {
    let http: Vec<&str> = GOOD.iter().map(|(kind, _)| *kind).collect();
    for kind in http {
        for later in [
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nno\0!",
            "this is no HTTP at all\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut",
        ] {
            let (answer, server) = ask(kind, later).await;
            assert!(matches!(answer, Answer::Retryable { .. }), "{kind} {later}: {answer:?}");
            assert!(!why(&answer).contains("s3cret"), "{answer:?}");
            assert_eq!(server.asked.load(SeqCst), 1, "{kind} tried again by itself");
        }
        let busy = "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
        let (answer, _) = ask(kind, busy).await;
        assert!(matches!(answer, Answer::Retryable { after: Some(7_000), .. }), "{answer:?}");
        for never in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (answer, server) = ask(kind, never).await;
            assert!(matches!(answer, Answer::Permanent(_)), "{kind} {never}: {answer:?}");
            assert_eq!(server.asked.load(SeqCst), 1, "{kind} followed it");
        }
        let (answer, _) = ask(kind, "").await;
        assert!(why(&answer).contains("within 2s"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_success_that_says_something_else_is_no_delivery() {
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n<html>welcome!</html>";
    for kind in ["slack", "pagerduty", "alertmanager"] {
        let (answer, _) = ask(kind, page).await;
        assert!(
            why(&answer).contains("welcome!") && why(&answer).contains("check `url`"),
            "{answer:?}"
        );
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    for (kind, _) in GOOD {
        let url = format!("http://127.0.0.1:{port}/s3cret");
        let answer = make(&settings(kind, &url)).unwrap().send(&message(Kind::Fires)).await;
        assert!(matches!(answer, Answer::Retryable { .. }), "{answer:?}");
        assert!(why(&answer).contains(&port.to_string()) && !why(&answer).contains("s3cret"));
    }
}

#[tokio::test]
async fn each_says_what_people_need_in_the_shape_of_its_server() {
    let (_, server) = ask("webhook", GOOD[0].1).await;
    let body = server.body();
    assert_eq!((&body["id"], &body["kind"]), (&json!("1-7"), &json!("fires")));
    assert_eq!(body["alerts"][0]["labels"]["service"], "chat");
    for part in ["What", "Since", "Affected", "Done", "Do", "evenkeel alert ack 1-2"] {
        assert!(body["text"].as_str().unwrap().contains(part), "{part}: {body}");
    }
    assert!(
        server.head().contains("idempotency-key: 1-7")
            && server.head().contains("POST /hook/s3cret-path")
    );
    let (_, server) = ask("slack", GOOD[1].1).await;
    let text = server.body()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("&lt;!channel&gt;") && text.matches("```").count() == 2, "{text}");
    let (_, server) = ask("pagerduty", GOOD[2].1).await;
    let event = server.body();
    assert_eq!(
        (&event["event_action"], &event["routing_key"]),
        (&json!("trigger"), &json!("R0UT1NG"))
    );
    assert_eq!(event["payload"]["severity"], "critical");
    let key = event["dedup_key"].clone();
    let server = Server::start(GOOD[2].1).await;
    let channel = make(&settings("pagerduty", &server.url())).unwrap();
    channel.send(&message(Kind::Resolved)).await;
    assert_eq!(
        (&server.body()["event_action"], &server.body()["dedup_key"]),
        (&json!("resolve"), &key)
    );
    let part = Message { open: true, ..message(Kind::Resolved) };
    assert!(matches!(channel.send(&part).await, Answer::Delivered(_)));
    assert_eq!(server.asked.load(SeqCst), 1, "others still fire: the incident stays");
    let (_, server) = ask("alertmanager", GOOD[3].1).await;
    let alert = server.body()[0].clone();
    assert_eq!(alert["labels"]["alertname"], "no_replica");
    assert!(
        server.head().contains("/api/v2/alerts") && alert["startsAt"] == "2024-06-01T00:00:00Z"
    );
}

#[tokio::test]
async fn a_signature_is_over_what_was_sent() {
    let server = Server::start(GOOD[0].1).await;
    let mut signed = settings("webhook", &server.url());
    signed.secret = Some(evenkeel_domain::replica::Secret::new("k".into()));
    assert!(!format!("{signed:?}").contains("s3cret"), "a URL is a secret");
    make(&signed).unwrap().send(&message(Kind::Fires)).await;
    let head = server.head();
    let field = head.lines().find_map(|line| line.strip_prefix("evenkeel-signature: ")).unwrap();
    let (time, tag) = field.split_once(",v1=").unwrap();
    let heard = String::from_utf8(server.heard.lock().unwrap().clone()).unwrap();
    let body = heard.split_once("\r\n\r\n").unwrap().1;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k");
    let text = format!("{}.{body}", time.strip_prefix("t=").unwrap());
    let bytes: Vec<u8> = (0..tag.len() / 2)
        .map(|n| u8::from_str_radix(&tag[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    assert!(ring::hmac::verify(&key, text.as_bytes(), &bytes).is_ok());
}

fn command(script: &str) -> ChannelSettings {
    let all =
        json!({ "name": "x", "kind": "command", "command": ["sh", "-c", script], "timeout": "2s" });
    serde_json::from_value(all).unwrap()
}

#[tokio::test]
async fn a_command_is_given_all_of_it_and_judged_by_its_exit() {
    let echo = "printf '%s %s ' \"$EVENKEEL_ALERT_MESSAGE\" \"$EVENKEEL_ALERT_KIND\"; head -c 20";
    let said = make(&command(echo)).unwrap().send(&message(Kind::Fires)).await;
    let Answer::Delivered(said) = said else { panic!("{said:?}") };
    assert!(said.contains("1-7 fires {\"version\":1"), "{said}");
    let run = |script: &'static str| async move {
        make(&command(script)).unwrap().send(&message(Kind::Fires)).await
    };
    assert!(matches!(run("exit 75").await, Answer::Retryable { .. }));
    assert!(
        matches!(run("echo sorry; exit 3").await, Answer::Permanent(why) if why.contains("sorry"))
    );
    assert!(matches!(run("kill -9 $$").await, Answer::Retryable { .. }));
    // It never reads, and says more than anybody wants to hear.
    assert!(matches!(run("yes | head -c 3000000").await, Answer::Delivered(_)));
    let missing: ChannelSettings =
        serde_json::from_value(json!({ "name": "x", "kind": "command", "command": ["/nowhere"] }))
            .unwrap();
    assert!(matches!(
        make(&missing).unwrap().send(&message(Kind::Fires)).await,
        Answer::Permanent(_)
    ));
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let answer = make(&command(&script)).unwrap().send(&message(Kind::Fires)).await;
    assert!(why(&answer).contains("within 2s"), "{answer:?}");
    let pid = std::fs::read_to_string(&file).unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(5), async {
        let stat = format!("/proc/{}/stat", pid.trim());
        // A zombie of whoever reaps here has ended.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    gone.await.expect("the child of the command has ended");
}

#[tokio::test]
async fn a_mail_server_that_answers_nonsense_is_not_now_and_said_so() {
    let server = Server::start("HTTP/1.1 200 OK\r\n\r\nhello").await;
    let all = json!({
        "name": "x", "kind": "email", "url": format!("smtp+plain://127.0.0.1:{}", server.port),
        "from": "a@example.org", "to": ["b@example.org"], "timeout": "2s",
    });
    let channel = make(&serde_json::from_value(all).unwrap()).unwrap();
    let answer = channel.send(&message(Kind::Fires)).await;
    assert!(matches!(answer, Answer::Retryable { .. }), "{answer:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let wrong = |all: Value| {
        let settings: ChannelSettings = serde_json::from_value(all).unwrap();
        let Err(error) = make(&settings) else { panic!("{settings:?} was taken") };
        error
    };
    let mail = |url: &str| json!({ "name": "x", "kind": "email", "url": url, "from": "a@b.de", "to": ["a@b.de"] });
    for (all, key, part) in [
        (json!({ "name": "x", "kind": "fax" }), "kind", "webhook, slack"),
        (json!({ "name": "x", "kind": "webhook" }), "url", "is needed"),
        (json!({ "name": "x", "kind": "webhook", "url": "nonsense s3cret" }), "url", "is no URL"),
        (
            json!({ "name": "x", "kind": "webhook", "url": "http://a", "user": "u" }),
            "user",
            "remove it",
        ),
        (
            json!({ "name": "x", "kind": "webhook", "url": "http://a", "url_env": "A" }),
            "url_env",
            "one of both",
        ),
        (json!({ "name": "x", "kind": "webhook", "url_file": "/nowhere" }), "url_file", "/nowhere"),
        (
            json!({ "name": "x", "kind": "webhook", "url_env": "EVENKEEL_NOT_SET" }),
            "url_env",
            "EVENKEEL_NOT_SET",
        ),
        (
            json!({ "name": "x", "kind": "webhook", "url": "http://a", "timeout": "2h" }),
            "timeout",
            "a minute",
        ),
        (json!({ "name": "x", "kind": "pagerduty" }), "secret", "routing key"),
        (
            json!({ "name": "x", "kind": "pagerduty", "secret": "k", "url": "http://192.0.2.1" }),
            "url",
            "https://",
        ),
        (
            json!({ "name": "x", "kind": "alertmanager", "secret": "k", "url": "http://192.0.2.1" }),
            "url",
            "https://",
        ),
        (json!({ "name": "x", "kind": "command" }), "command", "is needed"),
        (json!({ "name": "x", "kind": "email", "url": "smtp://h" }), "from", "is needed"),
        (mail("smtp+plain://mail.example.org"), "url", "encrypted"),
        (mail("http://mail"), "url", "begins with"),
        (mail("smtp://me:pw@mail"), "url", "user"),
        (mail("smtp://mail:99999"), "url", "port"),
    ] {
        let (at, text) = wrong(all);
        assert!(at == key && text.contains(part) && !text.contains("s3cret"), "{at}: {text}");
    }
    assert_eq!(KINDS.len(), 6, "a new kind belongs into this suite");
}
