//! The example `durable` as a process, and a client for it.

use bytes::Bytes;
use evenkeel_domain::Endpoint;
use evenkeel_domain::transport::Dial;
use evenkeel_testkit::Process;
use evenkeel_wire::{TcpDialer, client};
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longer than anything takes on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Bytes of an answer that a test reads.
const MOST: usize = 64 << 20;

pub(crate) fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/durable")
}

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Server {
    /// Starts `command`, which ends up as the example in `dir`.
    pub(crate) async fn start(command: &mut Command, dir: &Path) -> Self {
        let mut process = Process::start("durable", command.env("EVENKEEL_DURABLE_KEY", KEY), dir);
        let line = process.wait_for_line("listening", PATIENCE).await.unwrap();
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Self { process, address }
    }

    pub(crate) fn client(&self) -> Client {
        let port = self.address.rsplit(':').next().unwrap().parse().unwrap();
        Client { base: Endpoint::loopback(port) }
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    base: Endpoint,
}

/// Status and body; an error when the server went away.
pub(crate) type Got = Result<(u16, Bytes), String>;

impl Client {
    pub(crate) async fn send(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Got {
        let connection = TcpDialer::new(&self.base).dial().await.map_err(|e| e.to_string())?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &*self.base.authority)
            .header(header::CONTENT_TYPE, kind)
            .header("x-evenkeel-key-id", "tester")
            .body(Full::from(body))
            .unwrap();
        let got = client::fetch(connection, false, request, MOST).await;
        let got = got.map_err(|e| e.to_string())?;
        Ok((got.status().as_u16(), got.into_body()))
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send("GET", path, "text/plain", Vec::new()).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await.unwrap();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The id of a file once it is accepted.
    pub(crate) async fn upload(&self, content: &[u8]) -> Result<String, String> {
        let mut form =
            b"--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
            --XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
                .to_vec();
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n--XyZ--\r\n");
        let kind = "multipart/form-data; boundary=XyZ";
        id(self.send("POST", "/v1/files", kind, form).await?)
    }

    /// The id of a batch once it is accepted.
    pub(crate) async fn order(&self, input: &str) -> Result<String, String> {
        let order = json!({
            "input_file_id": input,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        });
        let body = order.to_string().into_bytes();
        id(self.send("POST", "/v1/batches", "application/json", body).await?)
    }
}

fn id((status, body): (u16, Bytes)) -> Result<String, String> {
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let body: Value = serde_json::from_slice(&body).unwrap();
    Ok(body["id"].as_str().unwrap().to_owned())
}

/// Request lines with ids of their own.
pub(crate) fn lines(name: &str, count: usize) -> String {
    let line = |n| {
        let body = json!({ "model": "m", "text": format!("{name} says {n}") });
        json!({
            "custom_id": format!("{name}-{n}"), "method": "POST",
            "url": "/v1/chat/completions", "body": body,
        })
    };
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}
