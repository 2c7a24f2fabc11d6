//! Chat and text completions as events.

use super::Wanted;
use crate::resume::Api;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The events of a whole answer; `None` when it is none.
pub(super) fn events(wanted: &Wanted, answer: &[u8]) -> Option<Bytes> {
    let Value::Object(mut whole) = serde_json::from_slice(answer).ok()? else { return None };
    let Some(Value::Array(choices)) = whole.shift_remove("choices") else { return None };
    let usage = whole.shift_remove("usage");
    let chat = wanted.api == Api::Chat;
    let object = if chat { "chat.completion.chunk" } else { "text_completion" };
    whole.insert("object".into(), object.into());
    let mut out = String::new();
    for choice in choices {
        let Value::Object(choice) = choice else { return None };
        for part in if chat { chat_parts(choice) } else { text_parts(choice) } {
            event(&mut out, &whole, vec![part], None);
        }
    }
    if wanted.usage
        && let Some(usage) = usage
    {
        event(&mut out, &whole, Vec::new(), Some(usage));
    }
    out.push_str("data: [DONE]\n\n");
    Some(out.into())
}

fn event(out: &mut String, base: &Map<String, Value>, choices: Vec<Value>, usage: Option<Value>) {
    let mut fields = base.clone();
    fields.insert("choices".into(), choices.into());
    if let Some(usage) = usage {
        fields.insert("usage".into(), usage);
    }
    out.push_str("data: ");
    out.push_str(&Value::Object(fields).to_string());
    out.push_str("\n\n");
}

/// Role, content and finish reason come apart, as clients of streams expect.
fn chat_parts(mut choice: Map<String, Value>) -> Vec<Value> {
    let index = choice.get("index").cloned().unwrap_or(json!(0));
    let finish = choice.shift_remove("finish_reason").unwrap_or(Value::Null);
    let message = choice.shift_remove("message");
    let mut delta = message.and_then(|m| m.as_object().cloned()).unwrap_or_default();
    let role = delta.shift_remove("role").unwrap_or_else(|| "assistant".into());
    number_calls(&mut delta);
    let mut first = choice.clone();
    first.shift_remove("logprobs");
    first.insert("delta".into(), json!({ "role": role, "content": "" }));
    first.insert("finish_reason".into(), Value::Null);
    choice.insert("delta".into(), delta.into());
    choice.insert("finish_reason".into(), Value::Null);
    let last = json!({ "index": index, "delta": {}, "finish_reason": finish });
    vec![first.into(), choice.into(), last]
}

/// Tool calls of a stream bear their place.
fn number_calls(delta: &mut Map<String, Value>) {
    let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (at, call) in calls.into_iter().flatten().enumerate() {
        if let Some(call) = call.as_object_mut() {
            call.entry("index").or_insert(json!(at));
        }
    }
}

fn text_parts(mut choice: Map<String, Value>) -> Vec<Value> {
    let index = choice.get("index").cloned().unwrap_or(json!(0));
    let finish = choice.insert("finish_reason".into(), Value::Null).unwrap_or(Value::Null);
    let last = json!({ "index": index, "text": "", "finish_reason": finish });
    vec![choice.into(), last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::unary::from_events;

    #[test]
    fn a_stream_says_what_the_whole_answer_says() {
        let chat = json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "a\né", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "logprobs": {"content": [{"token": "a"}]}, "finish_reason": "tool_calls"}],
            "usage": {"total_tokens": 3}});
        let text = json!({"id": "y", "object": "text_completion", "model": "m", "choices": [{
            "index": 0, "text": "abc", "finish_reason": "length"}], "usage": {"total_tokens": 3}});
        for (api, answer) in [(Api::Chat, chat), (Api::Completions, text)] {
            let wanted = Wanted { api, usage: true };
            let stream = events(&wanted, answer.to_string().as_bytes()).unwrap();
            assert_eq!(from_events(&stream).unwrap(), answer);
            let without = Wanted { usage: false, ..wanted };
            let stream = events(&without, answer.to_string().as_bytes()).unwrap();
            assert!(!String::from_utf8_lossy(&stream).contains("usage"));
        }
        assert_eq!(events(&Wanted { api: Api::Chat, usage: true }, b"[]"), None);
    }
}
