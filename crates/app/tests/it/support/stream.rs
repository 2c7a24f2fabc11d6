//! A client that reads a stream piece by piece.

use super::{Up, Wire, post};
use serde_json::Value;

/// A stream under way, as its client sees it.
pub(crate) struct Stream {
    wire: Wire,
    text: String,
}

impl Stream {
    /// This chat's, once its first token is there.
    pub(crate) async fn begin(up: &Up, body: &str) -> Self {
        let mut wire = Wire::open(&up.clients).await;
        wire.send(post("/v1/chat/completions", "", body)).await;
        assert_eq!(wire.head().await.map(|head| head.status), Ok(200));
        let mut stream = Self { wire, text: String::new() };
        assert!(stream.more(2).await, "it has only begun");
        stream
    }

    /// Reads some pieces; false at the end.
    pub(crate) async fn more(&mut self, pieces: usize) -> bool {
        for _ in 0..pieces {
            let piece = self.wire.chunk().await.expect("the stream goes on");
            let Some(piece) = piece else { return false };
            self.text.push_str(&String::from_utf8_lossy(&piece));
        }
        true
    }

    /// The whole answer.
    pub(crate) async fn end(mut self) -> String {
        while self.more(1).await {}
        let events = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut events: Vec<&str> = events.collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{}", self.text);
        let content = |event: &str| {
            let event: Value = serde_json::from_str(event).expect("an event is JSON");
            event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        };
        events.into_iter().map(content).collect()
    }
}
