//! A unary answer fetched from the replica as a stream.
//!
//! Some servers run an abandoned unary request to its end, and none tells how far it is. A
//! stream can be cancelled, watched, rescued and resumed; here it becomes one JSON object
//! again before anything goes to the client.

use super::carry::Carried;
use super::events::Blocks;
use crate::body::OutBody;
use crate::error::Refusal;
use crate::shared::Reserved;
use crate::worker::Worker;
use bytes::Bytes;
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, response};
use serde_json::{Map, Value, json};
use std::future::poll_fn;
use std::rc::Rc;

/// The request for a stream, for the body of a unary one. `None` when it is no object.
pub(crate) fn as_stream(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    fields.insert("stream".into(), true.into());
    fields.insert("stream_options".into(), json!({ "include_usage": true }));
    serde_json::to_vec(&fields).ok()
}

/// Reads a stream to its end and gives the unary answer.
pub(crate) async fn collect(
    worker: &Rc<Worker>,
    mut head: response::Parts,
    mut carried: Carried,
) -> Result<Response<OutBody>, Refusal> {
    let mut answer = Answer::default();
    let mut memory = Reserved::none(worker);
    let mut size = 0;
    while let Some(frame) = poll_fn(|cx| carried.poll_frame(cx)).await {
        let data = frame.map(|f| f.into_data().unwrap_or_default()).unwrap_or_default();
        size += data.len() as u64;
        if !memory.grow_to(size) {
            return Err(Refusal::NotRepeatable(Outcome::ReplicaFault(ReplicaFault::Garbage)));
        }
        answer.take(&data)?;
    }
    let body = Bytes::from(answer.into_json().to_string());
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.remove(CACHE_CONTROL);
    Ok(Response::from_parts(head, OutBody::full(body)))
}

/// The whole answer of a stream that was read to its end; `None` when it says that it failed.
pub(crate) fn from_events(events: &[u8]) -> Option<Value> {
    let mut answer = Answer::default();
    answer.take(events).ok()?;
    Some(answer.into_json())
}

/// An answer put together from its events.
#[derive(Debug, Default)]
struct Answer {
    /// Fields beside the choices; the last event's count.
    fields: Map<String, Value>,
    choices: Vec<Map<String, Value>>,
}

impl Answer {
    /// Takes whole events.
    fn take(&mut self, events: &[u8]) -> Result<(), Refusal> {
        for block in Blocks::new(events) {
            let Some(data) = block.ok().and_then(|b| b.data) else { continue };
            let Ok(Value::Object(event)) = serde_json::from_str(&data) else { continue };
            if event.get("error").is_some_and(|e| !e.is_null()) {
                return Err(Refusal::NotRepeatable(Outcome::ReplicaFault(ReplicaFault::Truncated)));
            }
            self.event(event);
        }
        Ok(())
    }

    fn event(&mut self, event: Map<String, Value>) {
        for (name, value) in event {
            match (&*name, value) {
                ("choices", Value::Array(choices)) => {
                    choices.into_iter().for_each(|choice| self.choice(choice));
                }
                // A stream's later events bear it empty.
                (_, Value::Null) if self.fields.contains_key(&name) => {}
                (_, value) => {
                    self.fields.insert(name, value);
                }
            }
        }
    }

    fn choice(&mut self, choice: Value) {
        let Value::Object(choice) = choice else { return };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let index = usize::try_from(index).unwrap_or(0).min(MOST_CHOICES);
        while self.choices.len() <= index {
            let at = self.choices.len();
            self.choices.push(Map::from_iter([("index".to_owned(), at.into())]));
        }
        let whole = &mut self.choices[index];
        for (name, value) in choice {
            match &*name {
                "index" => {}
                "delta" => grow(whole.entry("message").or_insert_with(|| json!({})), value),
                _ => grow(whole.entry(name).or_insert(Value::Null), value),
            }
        }
    }

    fn into_json(mut self) -> Value {
        let chat = self.choices.iter().any(|c| c.contains_key("message"));
        for choice in &mut self.choices {
            if let Some(message) = choice.get_mut("message") {
                finish_message(message);
            }
        }
        let object = if chat { "chat.completion" } else { "text_completion" };
        self.fields.insert("object".into(), object.into());
        self.fields.insert("choices".into(), json!(self.choices));
        Value::Object(self.fields)
    }
}

/// Answers to one prompt at most; OpenAI's own limit is 128.
const MOST_CHOICES: usize = 255;

/// Fields that a delta gives once, not piece by piece.
const WHOLE: [&str; 6] = ["role", "id", "type", "finish_reason", "name", "index"];

/// Adds a delta to what is there: texts and lists grow, objects field by field.
fn grow(whole: &mut Value, delta: Value) {
    match (whole, delta) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(list), Value::Array(more)) => {
            more.into_iter().for_each(|item| grow_list(list, item));
        }
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                let once = WHOLE.contains(&&*name);
                match fields.get_mut(&name) {
                    Some(there) if !once => grow(there, value),
                    Some(there) if there.is_null() => *there = value,
                    Some(_) => {}
                    None => {
                        let mut fresh = Value::Null;
                        grow(&mut fresh, value);
                        fields.insert(name, fresh);
                    }
                }
            }
        }
        (whole @ Value::Null, Value::Array(items)) => {
            let mut list = Vec::new();
            items.into_iter().for_each(|item| grow_list(&mut list, item));
            *whole = Value::Array(list);
        }
        (whole, value) => *whole = value,
    }
}

/// Items with an index (tool calls) grow; others (log-probabilities, ids) are added.
fn grow_list(list: &mut Vec<Value>, item: Value) {
    let index = item.get("index").and_then(Value::as_u64);
    let same = |v: &&mut Value| v.get("index").and_then(Value::as_u64) == index;
    match list.iter_mut().find(same).filter(|_| index.is_some()) {
        Some(there) => grow(there, item),
        None => list.push(item),
    }
}

/// What unary messages have and deltas have not, and the other way round.
fn finish_message(message: &mut Value) {
    let Some(fields) = message.as_object_mut() else { return };
    fields.entry("role").or_insert_with(|| "assistant".into());
    let calls = fields.contains_key("tool_calls");
    let content = fields.entry("content").or_insert(Value::Null);
    if content.is_null() && !calls {
        *content = "".into();
    }
    for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(call) = call.as_object_mut() {
            call.shift_remove("index");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(events: &[&str]) -> Value {
        let mut answer = Answer::default();
        for event in events {
            answer.take(format!("data: {event}\n\n").as_bytes()).unwrap();
        }
        answer.into_json()
    }

    #[test]
    fn a_chat_is_put_together() {
        let got = whole(&[
            r#"{"id":"x","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a\n"},"logprobs":{"content":[{"token":"a\n"}]}}]}"#,
            r#"{"id":"x","choices":[{"index":0,"delta":{"content":"é"},"logprobs":{"content":[{"token":"é"}]}}]}"#,
            r#"{"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
            r#"{"id":"x","choices":[],"usage":{"total_tokens":3},"timings":{"n":1}}"#,
            "[DONE]",
        ]);
        assert_eq!(
            got,
            json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "a\né"},
                "logprobs": {"content": [{"token": "a\n"}, {"token": "é"}]},
                "finish_reason": "stop"}],
                "usage": {"total_tokens": 3}, "timings": {"n": 1}})
        );
    }

    #[test]
    fn tool_calls_and_several_choices() {
        let got = whole(&[
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}"#,
        ]);
        assert_eq!(got["choices"][1]["message"]["content"], "b");
        assert_eq!(
            got["choices"][0]["message"],
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c",
                "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]})
        );
    }

    #[test]
    fn text_completions() {
        let got = whole(&[
            r#"{"object":"text_completion","choices":[{"index":0,"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[-1]}}]}"#,
            r#"{"object":"text_completion","choices":[{"index":0,"text":"b","finish_reason":"length","logprobs":{"tokens":["b"],"token_logprobs":[-2]}}]}"#,
        ]);
        assert_eq!(
            got["choices"][0],
            json!({"index": 0, "text": "ab", "finish_reason": "length",
                "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1, -2]}})
        );
        assert_eq!(got["object"], "text_completion");
    }

    #[test]
    fn a_request_becomes_one_for_a_stream() {
        let body = as_stream(br#"{"model":"m","stream":false,"prompt":"x"}"#).unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&value["stream"], &value["model"]), (&json!(true), &json!("m")));
        assert_eq!(as_stream(b"[]"), None);
    }
}
