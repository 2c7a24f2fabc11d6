//! Anthropic's `POST /v1/messages` and `/v1/messages/count_tokens`.

use bytes::BytesMut;
use http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use crate::app::App;
use crate::body::{Format, Reply};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generate::Finish;
use crate::params::{Names, Shared};
use crate::prompt::{Ending, Turn, content, render};
use crate::run::Run;
use crate::token::Id;
use crate::wire;

const NAMES: Names =
    Names { max_tokens: &["max_tokens"], default_max: 128, stop: "stop_sequences" };

/// Answers a conversation. A last message from the assistant is the answer's beginning.
pub(crate) async fn messages(app: &App, fields: &Fields) -> Answer {
    let shared = Shared::read(app, fields, NAMES)?;
    fields.need("max_tokens")?;
    let prompt = prompt(app, fields)?;
    if shared.n > 1 {
        return Err(ApiError::unsupported("n"));
    }
    let stream = shared.stream;
    let run = Run::start(app, shared.job(app, vec![prompt])?).await?;
    let id = app.head("msg_").id;
    let model = app.settings.model.clone();
    if stream {
        return Ok(Reply::stream(run, Events { id, model }));
    }
    let (mut done, run) = run.finish().await;
    let done = done.pop().unwrap_or_default();
    let mut message = message(&id, &model, run.prompt_tokens, run.produced);
    message["content"] = json!([{"type": "text", "text": done.text}]);
    message["stop_reason"] = done.finish.map(reason).into();
    message["stop_sequence"] = done.stop.into();
    Ok(Reply::json(StatusCode::OK, message.to_string()))
}

/// Counts a conversation's tokens.
pub(crate) fn count_tokens(app: &App, fields: &Fields) -> Answer {
    app.check_model(fields)?;
    let count = prompt(app, fields)?.len();
    Ok(Reply::json(StatusCode::OK, json!({"input_tokens": count}).to_string()))
}

fn prompt(app: &App, fields: &Fields) -> Result<Vec<Id>, ApiError> {
    let mut turns = Turn::read_all(fields.need("messages")?, "messages")?;
    if let Some(system) = fields.get("system") {
        turns.insert(0, Turn::system(content(system, "system")?));
    }
    let prefilled = turns.last().is_some_and(Turn::is_assistant);
    let ending = if prefilled { Ending::Continue } else { Ending::Answer };
    Ok(render(&app.model.tokenizer, &turns, ending))
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "max_tokens",
        Finish::End => "end_turn",
        Finish::Stop(_) => "stop_sequence",
    }
}

fn message(id: &str, model: &str, input: usize, output: usize) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {
            "input_tokens": input, "output_tokens": output,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    })
}

/// Anthropic's stream: named events around one block of text.
struct Events {
    id: String,
    model: String,
}

impl Format for Events {
    fn begin(&mut self, run: &Run, out: &mut BytesMut) {
        let message = message(&self.id, &self.model, run.prompt_tokens, 0);
        wire::event(out, "message_start", &json!({"type": "message_start", "message": message}));
        let block = json!({"type": "text", "text": ""});
        let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
        wire::event(out, "content_block_start", &start);
        wire::event(out, "ping", &json!({"type": "ping"}));
    }

    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut) {
        let sequence = run.sequence(at);
        if !sequence.out.text.is_empty() {
            wire::raw(
                out,
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":",
            );
            wire::string(out, &sequence.out.text);
            wire::raw(out, "}}\n\n");
        }
        let Some(finish) = sequence.finish else { return };
        wire::event(out, "content_block_stop", &json!({"type": "content_block_stop", "index": 0}));
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason(finish), "stop_sequence": sequence.stop_string()},
            "usage": {"output_tokens": run.produced},
        });
        wire::event(out, "message_delta", &delta);
    }

    fn end(&mut self, _: &Run, out: &mut BytesMut) {
        wire::event(out, "message_stop", &json!({"type": "message_stop"}));
    }
}
