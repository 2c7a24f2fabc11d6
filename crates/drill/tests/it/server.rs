//! A small model server, good by default.

use bytes::Bytes;
use evenkeel_domain::clock::now;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) type Reply = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    count: AtomicU64,
    /// When requests came and how long their bodies were.
    seen: Mutex<Vec<(Instant, serde_json::Value)>>,
    /// Nothing is answered before then.
    frozen_until: Mutex<Option<Instant>>,
    script: fn(u64) -> Option<Reply>,
}

impl Server {
    /// `script` may answer otherwise than well, by the number of the request.
    pub(crate) async fn start(script: fn(u64) -> Option<Reply>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            count: AtomicU64::new(0),
            seen: Mutex::default(),
            frozen_until: Mutex::default(),
            script,
        });
        let server = Self { addr, state };
        let state = server.state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let state = state.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                let io = TokioIo::new(socket);
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn count(&self) -> u64 {
        self.state.count.load(SeqCst)
    }

    pub(crate) fn freeze_until(&self, then: Instant) {
        *self.state.frozen_until.lock().unwrap() = Some(then);
    }

    pub(crate) fn seen(&self) -> Vec<(Instant, serde_json::Value)> {
        self.state.seen.lock().unwrap().clone()
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let number = state.count.fetch_add(1, SeqCst);
    let plain = request.method() == http::Method::GET;
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let stream = body["stream"] == true;
    state.seen.lock().unwrap().push((now(), body));
    let frozen = *state.frozen_until.lock().unwrap();
    if let Some(until) = frozen {
        tokio::time::sleep_until(until.into()).await;
    }
    let reply = (state.script)(number);
    Ok(reply.unwrap_or_else(|| match (plain, stream) {
        (true, _) => text(200, "plain"),
        (_, true) => events(&["one ", "two ", "three"], Duration::from_millis(5)),
        _ => text(200, &unary("one two three")),
    }))
}

pub(crate) fn text(status: u16, text: &str) -> Reply {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed();
    Response::builder().status(status).body(body).unwrap()
}

pub(crate) fn unary(text: &str) -> String {
    serde_json::json!({
        "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }]
    })
    .to_string()
}

/// A whole stream of these words.
pub(crate) fn events(words: &[&str], gap: Duration) -> Reply {
    let mut parts = vec![r#"{"choices":[{"delta":{"role":"assistant"}}]}"#.to_owned()];
    for word in words {
        parts
            .push(serde_json::json!({ "choices": [{ "delta": { "content": word } }] }).to_string());
    }
    parts.push(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#.into());
    parts.push("[DONE]".into());
    raw_events(parts, gap)
}

pub(crate) fn raw_events(parts: Vec<String>, gap: Duration) -> Reply {
    let (to, from) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    tokio::spawn(async move {
        for part in parts {
            let frame = Frame::data(Bytes::from(format!("data: {part}\n\n")));
            if to.send(frame).await.is_err() {
                return;
            }
            tokio::time::sleep(gap).await;
        }
    });
    Response::new(Receiver(from).boxed())
}

struct Receiver(tokio::sync::mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Receiver {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
