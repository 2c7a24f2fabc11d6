//! A model server that answers as told, speaks all four APIs, and dies at a given byte.

use super::super::Api;
use evenkeel_domain::transport::{Connection, Dial, Dialing};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// How it goes on from a given beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefill {
    GoesOn,
    Echoes,
    /// Begins anew without a word.
    Restarts,
    Refuses,
}

/// How an answer ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection closes.
    Close,
    /// The body ends as if it were whole.
    CleanEnd,
    /// `[DONE]` or nothing, but never a finish reason.
    Done,
    ErrorEvent,
    Garbage,
    NotUtf8,
    /// Nothing more comes, but comments.
    Silence,
    /// An event without an end.
    Endless,
}

pub(super) const CUTS: [Cut; 7] = [
    Cut::Close,
    Cut::CleanEnd,
    Cut::Done,
    Cut::ErrorEvent,
    Cut::Garbage,
    Cut::NotUtf8,
    Cut::Silence,
];

/// What it says and knows.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) api: Api,
    /// The answer's tokens; the id of each is its place plus 100.
    pub(super) tokens: Vec<String>,
    pub(super) prefill: Prefill,
    pub(super) ids: bool,
    /// Reasoning and a tool call before and after the text.
    pub(super) rich: bool,
    pub(super) choices: u32,
    pub(super) logprobs: bool,
}

/// All replicas of one service, and what will happen to their answers.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) model: Model,
    /// For each answer to come: after which share of its bytes, and how it ends.
    pub(super) cuts: Mutex<VecDeque<(f64, Cut)>>,
    pub(super) asked: Mutex<Vec<(String, Value)>>,
    /// Which replicas were connected to.
    pub(super) doors: Mutex<Vec<u64>>,
}

pub(super) struct Door(pub(super) Arc<Fleet>, pub(super) u64);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

impl Dial for Door {
    fn dial(&self) -> Dialing<'_> {
        let fleet = self.0.clone();
        fleet.doors.lock().unwrap().push(self.1);
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 << 10);
            tokio::task::spawn(async move {
                let _ = fleet.serve(far).await;
            });
            Ok(Connection { io: Box::new(near), h2: false })
        })
    }
}

impl Fleet {
    async fn serve(&self, mut io: DuplexStream) -> std::io::Result<()> {
        loop {
            let Some((path, body)) = request(&mut io).await? else { return Ok(()) };
            let value: Value = serde_json::from_slice(&body).unwrap();
            self.asked.lock().unwrap().push((path.clone(), value.clone()));
            let Some(events) = self.model.answer(&path, &value) else {
                let text = r#"{"error":{"message":"no"}}"#;
                let head =
                    format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n", text.len());
                io.write_all(head.as_bytes()).await?;
                io.write_all(text.as_bytes()).await?;
                continue;
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            io.write_all(head.as_bytes()).await?;
            let cut = self.cuts.lock().unwrap().pop_front();
            let whole = events.concat();
            let Some((share, cut)) = cut else {
                for event in &events {
                    chunk(&mut io, event.as_bytes()).await?;
                }
                io.write_all(b"0\r\n\r\n").await?;
                continue;
            };
            // The last byte is never sent: what comes whole is not cut.
            let at = ((whole.len() as f64 * share) as usize).min(whole.len() - 1);
            return self.cut(&mut io, &whole.as_bytes()[..at], cut).await;
        }
    }

    async fn cut(&self, io: &mut DuplexStream, part: &[u8], cut: Cut) -> std::io::Result<()> {
        // In pieces that end anywhere.
        for piece in part.chunks(37) {
            chunk(io, piece).await?;
        }
        let whole_events = || part.windows(2).rposition(|w| w == b"\n\n").map_or(0, |at| at + 2);
        let extra: &[u8] = match cut {
            Cut::Close => return Ok(()),
            Cut::CleanEnd => b"",
            // What follows must be an event of its own, so that it is read.
            Cut::Done if whole_events() == part.len() => b"data: [DONE]\n\n",
            Cut::Done => b"\n\ndata: [DONE]\n\n",
            Cut::ErrorEvent => {
                b"\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}\n\n"
            }
            Cut::Garbage => b"\n\ndata: {\"choices\":[{\"delta\n\n",
            Cut::NotUtf8 => b"\n\ndata: \xff\xfe\n\n",
            Cut::Endless => {
                chunk(io, b"\n\ndata: ").await?;
                loop {
                    chunk(io, &[b'x'; 64 << 10]).await?;
                }
            }
            Cut::Silence => loop {
                chunk(io, b": ping\n\n").await?;
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            },
        };
        if !extra.is_empty() {
            chunk(io, extra).await?;
        }
        io.write_all(b"0\r\n\r\n").await
    }
}

async fn chunk(io: &mut DuplexStream, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    io.write_all(&out).await
}

async fn request(io: &mut DuplexStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if io.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
    let length: usize = length.parse().unwrap();
    while read.len() < end + length {
        if io.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((path, read[end..end + length].to_vec())))
}

impl Model {
    /// The events of an answer; `None` for a refusal.
    fn answer(&self, path: &str, body: &Value) -> Option<Vec<String>> {
        let whole = self.tokens.concat();
        let mut given = String::new();
        let mut prompt_ids = vec![1, 2, 3];
        match path {
            "/v1/completions" => match &body["prompt"] {
                Value::Array(ids) => {
                    if !self.ids {
                        return None;
                    }
                    prompt_ids = ids.iter().map(|i| i.as_u64().unwrap()).collect();
                    let own = prompt_ids[3..].iter().map(|id| &*self.tokens[*id as usize - 100]);
                    given = own.collect();
                }
                prompt => given = prompt.as_str().unwrap().strip_prefix("go").unwrap().to_owned(),
            },
            _ => {
                let last = body["messages"].as_array().and_then(|m| m.last());
                if let Some(last) = last.filter(|m| m["role"] == "assistant") {
                    given = last["content"].as_str().unwrap().to_owned();
                }
            }
        }
        let replayed = body["prompt"].is_array();
        let is_prefill = !given.is_empty() && !replayed && path != "/v1/completions";
        let from = match (is_prefill, self.prefill) {
            (true, Prefill::Refuses) => return None,
            (true, Prefill::Restarts) => 0,
            _ => given.len(),
        };
        assert!(whole.starts_with(&given), "asked to go on from {given:?}");
        let most = ["max_tokens", "max_output_tokens"].iter().find_map(|k| body[*k].as_u64());
        let ids = self.ids && body["return_token_ids"] == true;
        let mut rest = self.rest_from(from);
        let mut finish = "stop";
        if let Some(most) = most
            && rest.len() as u64 > most
        {
            rest.truncate(most as usize);
            finish = "length";
        }
        let usage =
            (prompt_ids.len() as u64 + self.given_tokens(&given, replayed), rest.len() as u64);
        if is_prefill && self.prefill == Prefill::Echoes {
            rest.insert(0, (0, given));
        }
        Some(match path {
            "/v1/chat/completions" => {
                self.chat(&rest, finish, ids.then_some(&prompt_ids), body, usage)
            }
            "/v1/completions" => {
                self.completions(&rest, finish, ids.then_some(&prompt_ids), body, usage)
            }
            "/v1/messages" => messages(&rest, finish, usage),
            _ => responses(&rest, usage),
        })
    }

    fn given_tokens(&self, given: &str, replayed: bool) -> u64 {
        if replayed { 0 } else { (self.tokens.len() - self.rest_from(given.len()).len()) as u64 }
    }

    /// Tokens from a byte on; the first one may be the rest of one.
    fn rest_from(&self, from: usize) -> Vec<(u64, String)> {
        let mut at = 0;
        let mut rest = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let end = at + token.len();
            if end > from {
                rest.push((index as u64 + 100, token[from.saturating_sub(at)..].to_owned()));
            }
            at = end;
        }
        rest
    }

    fn chat(
        &self,
        rest: &[(u64, String)],
        finish: &str,
        ids: Option<&Vec<u64>>,
        body: &Value,
        usage: (u64, u64),
    ) -> Vec<String> {
        let id = fresh();
        let mut out = Vec::new();
        let mut push = |choices: Value, more: Value| {
            let mut event = json!({"id": id, "object": "chat.completion.chunk", "created": id.len(),
                "model": "m", "choices": choices});
            for (key, value) in more.as_object().unwrap() {
                event[key] = value.clone();
            }
            out.push(format!("data: {event}\n\n"));
        };
        for choice in 0..self.choices {
            let first = ids.map_or(json!({}), |ids| json!({ "prompt_token_ids": ids }));
            push(json!([{"index": choice, "delta": {"role": "assistant", "content": ""}}]), first);
        }
        if self.rich {
            for text in ["Let me ", "think…"] {
                push(json!([{"index": 0, "delta": {"reasoning_content": text}}]), json!({}));
            }
        }
        for (token, text) in rest {
            for choice in 0..self.choices {
                let mut one =
                    json!({"index": choice, "delta": {"content": text}, "finish_reason": null});
                if ids.is_some() {
                    one["token_ids"] = json!([token]);
                }
                if self.logprobs {
                    one["logprobs"] = json!({"content": [{"token": text, "logprob": -0.5}]});
                }
                push(json!([one]), json!({}));
            }
        }
        if self.rich {
            let call = fresh();
            push(
                json!([{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": call, "type": "function",
                    "function": {"name": "look_up", "arguments": ""}}]}}]),
                json!({}),
            );
            for text in ["{\"q\":", "\"ñandú\"", "}"] {
                let call = json!([{"index": 0, "function": {"arguments": text}}]);
                push(json!([{"index": 0, "delta": {"tool_calls": call}}]), json!({}));
            }
        }
        for choice in 0..self.choices {
            push(json!([{"index": choice, "delta": {}, "finish_reason": finish}]), json!({}));
        }
        if body["stream_options"]["include_usage"] == true {
            push(json!([]), json!({"usage": openai_usage(usage)}));
        }
        out.push("data: [DONE]\n\n".into());
        out
    }

    fn completions(
        &self,
        rest: &[(u64, String)],
        finish: &str,
        ids: Option<&Vec<u64>>,
        body: &Value,
        usage: (u64, u64),
    ) -> Vec<String> {
        let id = fresh();
        let mut out = Vec::new();
        let mut push = |choices: Value, usage: Value| {
            let event = json!({"id": id, "object": "text_completion", "created": id.len(),
                "model": "m", "choices": choices, "usage": usage});
            out.push(format!("data: {event}\n\n"));
        };
        for (at, (token, text)) in rest.iter().enumerate() {
            let mut one =
                json!({"index": 0, "text": text, "finish_reason": null, "logprobs": null});
            if let Some(prompt) = ids {
                one["token_ids"] = json!([token]);
                if at == 0 {
                    one["prompt_token_ids"] = json!(prompt);
                }
            }
            push(json!([one]), Value::Null);
        }
        push(json!([{"index": 0, "text": "", "finish_reason": finish}]), Value::Null);
        if body["stream_options"]["include_usage"] == true {
            push(json!([]), openai_usage(usage));
        }
        out.push("data: [DONE]\n\n".into());
        out
    }
}

fn openai_usage((prompt, completion): (u64, u64)) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn typed(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn messages(rest: &[(u64, String)], finish: &str, (input, output): (u64, u64)) -> Vec<String> {
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": fresh(), "role": "assistant", "model": "m",
            "usage": {"input_tokens": input, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    for (_, text) in rest {
        events.push(json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text}}));
    }
    let reason = if finish == "length" { "max_tokens" } else { "end_turn" };
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": output}}),
        json!({"type": "message_stop"}),
    ]);
    typed(&events)
}

fn responses(rest: &[(u64, String)], usage: (u64, u64)) -> Vec<String> {
    let (id, item) = (fresh(), fresh());
    let whole: String = rest.iter().map(|(_, text)| text.as_str()).collect();
    let message = json!({"type": "message", "id": item, "role": "assistant",
        "content": [{"type": "output_text", "text": whole}]});
    let mut events = vec![
        json!({"type": "response.created", "response": {"id": id, "created_at": id.len(), "model": "m"}}),
        json!({"type": "response.in_progress", "response": {"id": id}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": item, "type": "message"}}),
        json!({"type": "response.content_part.added", "output_index": 0, "content_index": 0, "item_id": item}),
    ];
    for (_, text) in rest {
        events.push(json!({"type": "response.output_text.delta", "output_index": 0,
            "content_index": 0, "item_id": item, "delta": text}));
    }
    events.extend([
        json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0,
            "item_id": item, "text": whole}),
        json!({"type": "response.content_part.done", "output_index": 0, "content_index": 0, "item_id": item}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": message}),
        json!({"type": "response.completed", "response": {"id": id, "created_at": id.len(), "model": "m",
            "output": [message], "usage": {"input_tokens": usage.0, "output_tokens": usage.1}}}),
    ]);
    for (at, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = at.into();
    }
    typed(&events)
}

/// An id that no other answer has; ids of different lengths, so that `created` differs, too.
fn fresh() -> String {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Relaxed);
    format!("id-{next}{}", "x".repeat((next % 7) as usize))
}
