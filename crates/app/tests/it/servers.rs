//! Servers that die, are old, speak something else or answer wrongly.

use crate::support::{Up, Wire, ask, chat, service, until, until_so};
use evenkeel_testkit::{Behaviour, Replica, answer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
