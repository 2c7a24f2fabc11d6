//! A client that says what it sends, byte by byte.

use super::SOON;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that sends what it is told, byte by byte.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// OpenAI's error code.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        stream.set_nodelay(true).expect("loopback has no delay");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; that nobody takes them any more shows in the answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next bytes up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|w| w == end) {
                return Ok(self.read.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        let reading = self.stream.read_buf(&mut self.read);
        match tokio::time::timeout(SOON, reading).await {
            Ok(Ok(0)) => Err(format!("closed after {:?}", String::from_utf8_lossy(&self.read))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("nothing more came".into()),
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.read.len() < count {
            self.more().await?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// What follows a status line that was read already.
    pub(crate) async fn rest_of_answer(&mut self) -> Result<Answer, String> {
        self.read.splice(0..0, *b"HTTP/1.1 200 OK\r\n");
        self.answer().await
    }

    /// The head of the next answer.
    pub(crate) async fn head(&mut self) -> Result<Answer, String> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header field has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Ok(Answer {
            status: status.ok_or_else(|| format!("no status: {head}"))?,
            headers: lines.map(field).collect(),
            body: Vec::new(),
        })
    }

    /// The next answer, whole.
    pub(crate) async fn answer(&mut self) -> Result<Answer, String> {
        let mut answer = self.head().await?;
        if matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|e| format!("{e}"))?;
            answer.body = self.exactly(length).await?;
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await? {
                answer.body.extend(chunk);
            }
        } else {
            while self.more().await.is_ok() {}
            answer.body = std::mem::take(&mut self.read);
        }
        Ok(answer)
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.read_until(b"\r\n").await?;
        let line = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(line.trim(), 16).map_err(|e| format!("{e}: {line}"))?;
        let chunk = self.exactly(size).await?;
        self.exactly(2).await?;
        Ok((size > 0).then_some(chunk))
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(address: &str, path: &str) -> Result<Answer, String> {
        let asking = async {
            let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            let mut wire = Self { stream, read: Vec::new() };
            wire.send(format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ))
            .await;
            wire.answer().await
        };
        let timed = tokio::time::timeout(SOON, asking).await;
        timed.unwrap_or_else(|_| Err("no answer in time".into()))
    }
}

/// One GET.
pub(crate) async fn get(address: &str, path: &str) -> Answer {
    Wire::get(address, path).await.unwrap_or_else(|e| panic!("GET {address}{path}: {e}"))
}

/// Bytes, answered.
pub(crate) async fn raw(address: &str, bytes: impl AsRef<[u8]>) -> Result<Answer, String> {
    let mut wire = Wire::open(address).await;
    wire.send(bytes).await;
    wire.answer().await
}

/// A POST as bytes; `headers` are lines, each ended.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// A chat completion as a body.
pub(crate) fn chat(prompt: &str, tokens: u32, stream: bool) -> String {
    serde_json::json!({
        "model": "test",
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    })
    .to_string()
}

/// Asks for a chat completion.
pub(crate) async fn ask(address: &str, headers: &str, body: &str) -> Answer {
    let request = post("/v1/chat/completions", headers, body);
    raw(address, request).await.unwrap_or_else(|e| panic!("{address}: {e}"))
}

/// A text that is no answer at all.
pub(crate) fn padding(bytes: usize) -> String {
    "x".repeat(bytes)
}
