//! A text in the shape of a model's answer, whole or as a stream, for all four APIs.

use crate::resume::Api;
use bytes::Bytes;
use serde_json::{Value, json};

/// Who answers.
pub(crate) const MODEL: &str = "evenkeel-fixed";

/// The whole answer. `created`: seconds since the Unix epoch.
pub(crate) fn whole(api: Api, text: &str, id: &str, created: u64) -> Value {
    let usage = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
    match api {
        Api::Chat => json!({
            "id": id, "object": "chat.completion", "created": created, "model": MODEL,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text },
                "logprobs": null, "finish_reason": "stop" }],
            "usage": usage,
        }),
        Api::Completions => json!({
            "id": id, "object": "text_completion", "created": created, "model": MODEL,
            "choices": [{ "index": 0, "text": text, "logprobs": null, "finish_reason": "stop" }],
            "usage": usage,
        }),
        Api::Messages => json!({
            "id": id, "type": "message", "role": "assistant", "model": MODEL,
            "content": [{ "type": "text", "text": text }],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": { "input_tokens": 0, "output_tokens": 0 },
        }),
        Api::Responses => response(text, id, created, "completed"),
    }
}

fn response(text: &str, id: &str, created: u64, status: &str) -> Value {
    let output = match status {
        "completed" => json!([item(text, id, "completed")]),
        _ => json!([]),
    };
    json!({
        "id": id, "object": "response", "created_at": created, "model": MODEL,
        "status": status, "error": null, "incomplete_details": null, "output": output,
        "usage": { "input_tokens": 0, "output_tokens": 0, "total_tokens": 0 },
    })
}

fn item(text: &str, id: &str, status: &str) -> Value {
    let content = match status {
        "completed" => json!([part(text)]),
        _ => json!([]),
    };
    json!({ "id": format!("msg-{id}"), "type": "message", "role": "assistant",
        "status": status, "content": content })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [] })
}

/// The same as events, for the APIs whose events are typed.
pub(crate) fn typed(api: Api, text: &str, id: &str, created: u64) -> Bytes {
    let events = match api {
        Api::Messages => messages(text, id, created),
        _ => responses(text, id, created),
    };
    let mut out = String::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        out.push_str(&format!("event: {kind}\ndata: {event}\n\n"));
    }
    out.into()
}

fn messages(text: &str, id: &str, created: u64) -> Vec<Value> {
    let mut begun = whole(Api::Messages, "", id, created);
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    vec![
        json!({ "type": "message_start", "message": begun }),
        json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": text } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "usage": { "output_tokens": 0 },
            "delta": { "stop_reason": "end_turn", "stop_sequence": null } }),
        json!({ "type": "message_stop" }),
    ]
}

fn responses(text: &str, id: &str, created: u64) -> Vec<Value> {
    let at = format!("msg-{id}");
    let mut events = vec![
        json!({ "type": "response.created", "response": response("", id, created, "in_progress") }),
        json!({ "type": "response.output_item.added", "output_index": 0,
            "item": item("", id, "in_progress") }),
        json!({ "type": "response.content_part.added", "item_id": at, "output_index": 0,
            "content_index": 0, "part": part("") }),
        json!({ "type": "response.output_text.delta", "item_id": at, "output_index": 0,
            "content_index": 0, "delta": text }),
        json!({ "type": "response.output_text.done", "item_id": at, "output_index": 0,
            "content_index": 0, "text": text }),
        json!({ "type": "response.content_part.done", "item_id": at, "output_index": 0,
            "content_index": 0, "part": part(text) }),
        json!({ "type": "response.output_item.done", "output_index": 0,
            "item": item(text, id, "completed") }),
        json!({ "type": "response.completed", "response": response(text, id, created, "completed") }),
    ];
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::events::Blocks;

    #[test]
    fn each_api_gets_its_shape() {
        for (api, pointer) in [
            (Api::Chat, "/choices/0/message/content"),
            (Api::Completions, "/choices/0/text"),
            (Api::Messages, "/content/0/text"),
            (Api::Responses, "/output/0/content/0/text"),
        ] {
            let answer = whole(api, "Come back later.", "x", 1);
            assert_eq!(answer.pointer(pointer).unwrap(), "Come back later.");
            assert_eq!(answer["model"], MODEL);
        }
        for (api, last) in [(Api::Messages, "message_stop"), (Api::Responses, "response.completed")]
        {
            let events = typed(api, "Come\nback.", "x", 1);
            let kinds: Vec<_> = Blocks::new(&events).map(|b| b.unwrap().kind).collect();
            assert_eq!(kinds.last(), Some(&last));
            assert!(String::from_utf8_lossy(&events).contains("Come\\nback."));
        }
    }
}
