//! A server under test and a client of one connection per request.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_tinymodel::{Settings, serve};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) struct Server {
    address: SocketAddr,
    stop: std::sync::Arc<Notify>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = std::sync::Arc::new(Notify::new());
        let stopped = std::sync::Arc::clone(&stop);
        let task = tokio::spawn(async move { serve(settings, listener, stopped.notified()).await });
        Self { address, stop, task }
    }

    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    pub(crate) async fn ended(self) {
        let ended = tokio::time::timeout(Duration::from_secs(5), self.task).await;
        ended.expect("in time").expect("no panic").expect("no error");
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "test");
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        let response = sender.send_request(request.expect("a request")).await.expect("an answer");
        let status = response.status();
        if status == 503 {
            assert!(response.headers().contains_key("retry-after"));
        }
        let body = response.into_body().collect().await.expect("the whole body").to_bytes();
        connection.abort();
        (status.as_u16(), String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).expect("JSON")
    }

    pub(crate) async fn ok(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.post(path, &body.to_string()).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The data of a stream's events; `[DONE]` becomes a string.
    pub(crate) async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, text) = self.post(path, &body.to_string()).await;
        assert_eq!(status, 200, "{text}");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
    }

    /// Sends a request and does not wait; dropping what this returns is leaving.
    pub(crate) async fn begin(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        stream
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until(&self, metric: &str, value: u64) {
        let wanted = format!("vllm:{metric}{{model_name=\"evenkeel-demo\"}} {value}\n");
        for _ in 0..200 {
            if self.get("/metrics").await.1.contains(&wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{metric} did not become {value}");
    }
}
