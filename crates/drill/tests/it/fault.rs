use crate::server::{Server, events, text, unary};
use bytes::Bytes;
use evenkeel_domain::clock::now;
use evenkeel_drill::fault::{FaultProxy, REGISTRY};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const MS: Duration = Duration::from_millis(1);

struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn connect(proxy: &FaultProxy) -> std::io::Result<Self> {
        let socket = TcpStream::connect(proxy.addr()).await?;
        let (sender, driver) = handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(driver);
        Ok(Self(sender))
    }

    /// Status and body, or what broke.
    async fn ask(&mut self, stream: bool) -> Result<(u16, String), String> {
        let body = format!(r#"{{"stream":{stream}}}"#);
        let request = Request::post("/v1/chat/completions").body(Full::new(body.into())).unwrap();
        let answer = self.0.send_request(request).await.map_err(|e| format!("{e:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|e| format!("{e:?}"))?;
        Ok((status, String::from_utf8(body.to_bytes().into()).unwrap()))
    }
}

/// One request on a new connection.
async fn once(proxy: &FaultProxy) -> Result<(u16, String), String> {
    Client::connect(proxy).await.map_err(|e| format!("{e:?}"))?.ask(false).await
}

async fn start() -> (Server, FaultProxy) {
    let server = Server::start(|_| None).await;
    let proxy = FaultProxy::start(server.addr).await.unwrap();
    (server, proxy)
}

fn good() -> Result<(u16, String), String> {
    Ok((200, unary("one two three")))
}

#[tokio::test]
async fn without_a_fault_connections_are_kept() {
    let (server, proxy) = start().await;
    let mut client = Client::connect(&proxy).await.unwrap();
    for _ in 0..5 {
        assert_eq!(client.ask(false).await, good());
    }
    assert!(client.ask(true).await.unwrap().1.ends_with("[DONE]\n\n"));
    let stats = proxy.stats();
    assert_eq!((server.count(), stats.accepted, stats.open), (6, 1, 1));
    drop(client);
    timeout(500 * MS, async {
        while proxy.stats().open > 0 {
            tokio::time::sleep(MS).await;
        }
    })
    .await
    .expect("a client that leaves is noticed");
}

/// Every fault of the registry, put on an open connection and taken off again: afterwards
/// all is as before.
#[tokio::test]
async fn every_fault_ends_when_cleared() {
    for entry in REGISTRY {
        let (_server, proxy) = start().await;
        let mut client = Client::connect(&proxy).await.unwrap();
        assert_eq!(client.ask(false).await, good());
        proxy.set_text(entry.example).await.unwrap();
        let _ = timeout(20 * MS, client.ask(false)).await;
        let _ = timeout(20 * MS, once(&proxy)).await;
        proxy.clear().await;
        let after = timeout(2_000 * MS, once(&proxy)).await;
        assert_eq!(after.expect(entry.example), good(), "{}", entry.example);
    }
}

#[tokio::test]
async fn latency_delays_a_stream_once() {
    let server = Server::start(|_| Some(events(&["a"; 20], 5 * MS))).await;
    let proxy = FaultProxy::start(server.addr).await.unwrap();
    proxy.set_text("latency:200ms").await.unwrap();
    let start = now();
    let mut client = Client::connect(&proxy).await.unwrap();
    client.ask(true).await.unwrap();
    let took = start.elapsed();
    assert!(took >= 300 * MS && took < 800 * MS, "{took:?}");
}

#[tokio::test]
async fn bandwidth_is_narrow() {
    let server = Server::start(|_| Some(text(200, &"x".repeat(30_000)))).await;
    let proxy = FaultProxy::start(server.addr).await.unwrap();
    proxy.set_text("bandwidth:100k").await.unwrap();
    let start = now();
    assert_eq!(once(&proxy).await.unwrap().1.len(), 30_000);
    let took = start.elapsed();
    assert!(took >= 290 * MS && took < 600 * MS, "{took:?}");
}

#[tokio::test]
async fn loss_stalls_a_seeded_share_until_it_ends() {
    let (_server, proxy) = start().await;
    let lost = async |proxy: &FaultProxy| {
        proxy.set_text("loss:50%").await.unwrap();
        let mut lost = Vec::new();
        for n in 0..20 {
            if timeout(30 * MS, once(proxy)).await.is_err() {
                lost.push(n);
            }
        }
        lost
    };
    let first = lost(&proxy).await;
    assert!((4..=16).contains(&first.len()), "{first:?}");
    let (_other_server, other) = start().await;
    assert_eq!(lost(&other).await, first, "the same seed loses the same");
    proxy.set_text("loss:100%").await.unwrap();
    let mut client = Client::connect(&proxy).await.unwrap();
    let mut waiting = Box::pin(client.ask(false));
    assert!(timeout(30 * MS, &mut waiting).await.is_err());
    proxy.clear().await;
    assert_eq!(waiting.await, good());
}

#[tokio::test]
async fn cut_and_reset_end_a_stream_in_its_middle() {
    for (fault, sign) in [("cut:400", "IncompleteMessage"), ("reset:400", "ConnectionReset")] {
        let server = Server::start(|_| Some(events(&["a"; 50], MS))).await;
        let proxy = FaultProxy::start(server.addr).await.unwrap();
        proxy.set_text(fault).await.unwrap();
        let error = Client::connect(&proxy).await.unwrap().ask(true).await.unwrap_err();
        // hyper tells a cut of a chunked body as an unexpected end of file.
        assert!(error.contains(sign) || error.contains("UnexpectedEof"), "{fault}: {error}");
        assert_eq!(error.contains("ConnectionReset"), fault.starts_with("reset"), "{error}");
        let stats = proxy.stats();
        assert_eq!((stats.bytes_down, stats.ended), (400, 1));
    }
}

#[tokio::test]
async fn reset_at_accept_and_of_idle_connections() {
    let (server, proxy) = start().await;
    let mut idle = Client::connect(&proxy).await.unwrap();
    idle.ask(false).await.unwrap();
    proxy.set_text("reset:0").await.unwrap();
    assert!(idle.ask(false).await.is_err());
    let error = once(&proxy).await.unwrap_err();
    assert!(error.contains("ConnectionReset"), "{error}");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn refuse_closes_the_port_and_opens_it_again() {
    let (_server, proxy) = start().await;
    let mut open = Client::connect(&proxy).await.unwrap();
    open.ask(false).await.unwrap();
    for (fault, open_survives) in [("refuse", true), ("refuse:running", false)] {
        proxy.set_text(fault).await.unwrap();
        let error = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(open.ask(false).await.is_ok(), open_survives, "{fault}");
        proxy.clear().await;
        assert_eq!(once(&proxy).await, good());
    }
}

#[tokio::test]
async fn half_open_accepts_and_is_silent() {
    let (server, proxy) = start().await;
    let mut open = Client::connect(&proxy).await.unwrap();
    open.ask(false).await.unwrap();
    proxy.set_text("half-open").await.unwrap();
    let mut client = Client::connect(&proxy).await.unwrap();
    let mut waiting = Box::pin(client.ask(false));
    assert!(timeout(50 * MS, &mut waiting).await.is_err());
    assert_eq!(open.ask(false).await, good(), "open connections go on");
    assert_eq!(server.count(), 2);
    proxy.clear().await;
    assert_eq!(waiting.await, good(), "who waited is served when it is over");
}

#[tokio::test]
async fn blackhole_swallows_a_stream_in_its_middle() {
    let server = Server::start(|_| Some(events(&["a"; 50], 2 * MS))).await;
    let proxy = FaultProxy::start(server.addr).await.unwrap();
    let mut client = Client::connect(&proxy).await.unwrap();
    let mut waiting = Box::pin(client.ask(true));
    assert!(timeout(30 * MS, &mut waiting).await.is_err());
    proxy.set_text("blackhole").await.unwrap();
    assert!(timeout(300 * MS, &mut waiting).await.is_err());
    let before = proxy.stats().bytes_down;
    assert!(timeout(50 * MS, once(&proxy)).await.is_err());
    assert_eq!(proxy.stats().bytes_down, before);
    proxy.clear().await;
    assert!(waiting.await.unwrap().1.ends_with("[DONE]\n\n"), "nothing was lost");
}

#[tokio::test]
async fn truncate_keeps_the_length_and_cuts_the_body() {
    let (_server, proxy) = start().await;
    let mut client = Client::connect(&proxy).await.unwrap();
    client.ask(false).await.unwrap();
    proxy.set_text("truncate:10").await.unwrap();
    let error = client.ask(false).await.unwrap_err();
    assert!(error.contains("IncompleteMessage") || error.contains("UnexpectedEof"), "{error}");
    proxy.set_text("truncate:10000").await.unwrap();
    assert_eq!(once(&proxy).await, good(), "a shorter body passes whole");
}

#[tokio::test]
async fn answers_in_the_upstreams_place() {
    let (server, proxy) = start().await;
    let mut client = Client::connect(&proxy).await.unwrap();
    proxy.set_text("http:503,retry-after=7,body=busy").await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.ask(false).await, Ok((503, "busy".into())));
    }
    proxy.set_text("empty-body").await.unwrap();
    assert_eq!(client.ask(false).await, Ok((200, String::new())));
    proxy.set_text("truncated-json").await.unwrap();
    let (status, body) = client.ask(false).await.unwrap();
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<serde_json::Value>(&body).unwrap_err().is_eof());
    assert_eq!(server.count(), 0);
    proxy.clear().await;
    assert_eq!(client.ask(false).await, good(), "on the same connection");
    proxy.set_text("garbage").await.unwrap();
    let error = client.ask(false).await.unwrap_err();
    assert!(error.contains("Parse"), "{error}");
    assert_eq!((server.count(), proxy.stats().answered), (1, 5));
}

#[tokio::test]
async fn a_dropped_proxy_leaves_nothing_behind() {
    let (_server, proxy) = start().await;
    let addr = proxy.addr();
    let mut client = Client::connect(&proxy).await.unwrap();
    client.ask(false).await.unwrap();
    drop(proxy);
    let closed = async {
        while client.ask(false).await.is_ok() || TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(500 * MS, closed).await.expect("port and connections are closed");
}

#[tokio::test]
async fn an_upstream_that_is_gone_resets() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    drop(listener);
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let error = once(&proxy).await.unwrap_err();
    assert!(error.contains("ConnectionReset"), "{error}");
}
