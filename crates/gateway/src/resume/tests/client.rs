//! What a client makes of a stream.

use super::super::Api;
use super::fake::Model;
use crate::body::OutBody;
use http::Response;
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A stream, read to its end.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) raw: String,
    pub(super) error: Option<Value>,
    texts: BTreeMap<String, String>,
    /// Everything else that must be the same in a resumed stream.
    counts: BTreeMap<String, u32>,
    pub(super) usage: Option<(u64, u64)>,
    names: BTreeSet<String>,
    sequence: Option<u64>,
}

impl Heard {
    pub(super) async fn read(api: Api, response: Response<OutBody>) -> Self {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let raw = String::from_utf8(bytes.to_vec()).unwrap();
        let mut heard = Self { raw: raw.clone(), ..Self::default() };
        assert!(raw.ends_with("\n\n"), "{raw}");
        for block in raw.split("\n\n").filter(|b| !b.is_empty() && !b.starts_with(": ")) {
            let data = block.lines().find_map(|l| l.strip_prefix("data: "));
            let data = data.unwrap_or_else(|| panic!("no data in {block:?}"));
            heard.event(api, data);
        }
        heard
    }

    fn event(&mut self, api: Api, data: &str) {
        if data == "[DONE]" {
            return self.count("[DONE]");
        }
        let event: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"));
        if event.get("error").is_some_and(|e| !e.is_null()) {
            self.error = Some(event);
            return;
        }
        if api.has_choices() { self.chunk(&event) } else { self.typed(&event) }
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn text_of(&mut self, key: String, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.texts.entry(key).or_default().push_str(text);
        }
    }

    fn chunk(&mut self, event: &Value) {
        let name = format!("{} {} {}", event["id"], event["object"], event["created"]);
        self.names.insert(name);
        if let Some(usage) = event.get("usage").filter(|u| !u.is_null()) {
            assert!(self.usage.is_none(), "two usages: {}", self.raw);
            let read = |key: &str| usage[key].as_u64().unwrap();
            assert_eq!(read("total_tokens"), read("prompt_tokens") + read("completion_tokens"));
            self.usage = Some((read("prompt_tokens"), read("completion_tokens")));
        }
        for choice in event["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap();
            let delta = &choice["delta"];
            self.text_of(format!("text {index}"), &choice["text"]);
            self.text_of(format!("text {index}"), &delta["content"]);
            self.text_of(format!("reasoning {index}"), &delta["reasoning_content"]);
            if delta.get("role").is_some() {
                self.count(&format!("role {index}"));
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                if call.get("id").is_some() {
                    self.count("tool call id");
                }
                self.text_of("tool name".into(), &call["function"]["name"]);
                self.text_of("tool arguments".into(), &call["function"]["arguments"]);
            }
            for token in
                choice.pointer("/logprobs/content").and_then(Value::as_array).into_iter().flatten()
            {
                self.text_of(format!("logprob tokens {index}"), &token["token"]);
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                self.count(&format!("finish {index} {reason}"));
            }
        }
    }

    fn typed(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap();
        if let Some(sequence) = event["sequence_number"].as_u64() {
            assert_eq!(sequence, self.sequence.map_or(0, |s| s + 1), "{}", self.raw);
            self.sequence = Some(sequence);
        }
        for at in ["/message/id", "/response/id", "/item/id", "/item_id"] {
            if let Some(id) = event.pointer(at).and_then(Value::as_str) {
                let at = at.rsplit('/').next().unwrap().replace("item_id", "id");
                let part =
                    if kind.contains("item") || kind.contains("part") || kind.contains("text") {
                        "item"
                    } else {
                        "answer"
                    };
                self.names.insert(format!("{part} {at} {id}"));
            }
        }
        match kind {
            "ping" => {}
            "content_block_delta" => self.text_of("text 0".into(), &event["delta"]["text"]),
            "response.output_text.delta" => self.text_of("text 0".into(), &event["delta"]),
            _ => {
                let reason = event.pointer("/delta/stop_reason").and_then(Value::as_str);
                self.count(&format!("{kind} {}", reason.unwrap_or_default()));
                let usage = event.get("usage").or(event.pointer("/response/usage"));
                if let Some(output) = usage.and_then(|u| u["output_tokens"].as_u64()) {
                    self.usage = Some((0, output));
                }
            }
        }
    }

    pub(super) fn text(&self) -> String {
        self.texts.get("text 0").cloned().unwrap_or_default()
    }

    /// An unbroken answer is what the model says.
    pub(super) fn check_unbroken(&self, model: &Model) {
        assert_eq!(self.error, None);
        assert!(model.tokens.concat().starts_with(&self.text()));
        self.check_names();
    }

    fn check_names(&self) {
        let answers = self.names.iter().filter(|n| !n.starts_with("item")).count();
        let items = self.names.iter().filter(|n| n.starts_with("item")).count();
        assert!(answers <= 1 && items <= 1, "{:?}\n{}", self.names, self.raw);
    }

    /// What must be equal in a broken and an unbroken stream.
    pub(super) fn comparable(&self) -> impl PartialEq + std::fmt::Debug + '_ {
        self.check_names();
        (&self.texts, &self.counts, self.usage)
    }
}
