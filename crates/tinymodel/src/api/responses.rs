//! OpenAI's `POST /v1/responses`. Nothing is stored, so what needs a stored answer is
//! refused.

use bytes::BytesMut;
use http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use crate::app::{App, Head};
use crate::body::{Format, Reply};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generate::Finish;
use crate::params::{Names, Shared};
use crate::prompt::{Ending, Turn, render};
use crate::run::Run;
use crate::wire;

const NAMES: Names = Names { max_tokens: &["max_output_tokens"], default_max: 128, stop: "stop" };

/// Answers an input.
pub(crate) async fn responses(app: &App, fields: &Fields) -> Answer {
    let shared = Shared::read(app, fields, NAMES)?;
    for name in ["previous_response_id", "conversation"] {
        fields.refuse_unless(name, |_| false)?;
    }
    fields.refuse_unless("background", |value| value == &Value::Bool(false))?;
    fields.refuse_unless("text", |text| {
        matches!(text["format"]["type"].as_str(), None | Some("text"))
    })?;
    if shared.n > 1 {
        return Err(ApiError::unsupported("n"));
    }
    let prompt = render(&app.model.tokenizer, &turns(fields)?, Ending::Answer);
    let stream = shared.stream;
    let shape = Shape::new(app, fields)?;
    let run = Run::start(app, shared.job(app, vec![prompt])?).await?;
    if stream {
        return Ok(Reply::stream(run, Events { shape, number: 0, text: String::new() }));
    }
    let (mut done, run) = run.finish().await;
    let done = done.pop().unwrap_or_default();
    let response = shape.ended(&done.text, done.finish, &run);
    Ok(Reply::json(StatusCode::OK, response.to_string()))
}

fn turns(fields: &Fields) -> Result<Vec<Turn>, ApiError> {
    let mut turns = match fields.need("input")? {
        Value::String(text) => vec![Turn::user(text.clone())],
        list => Turn::read_all(list, "input")?,
    };
    if let Some(text) = fields.text("instructions")? {
        turns.insert(0, Turn::system(text.to_owned()));
    }
    Ok(turns)
}

/// The response object in its several states.
struct Shape {
    item_id: String,
    base: Value,
}

impl Shape {
    fn new(app: &App, fields: &Fields) -> Result<Self, ApiError> {
        let Head { id, created } = app.head("resp_");
        let item_id = id.replacen("resp_", "msg_", 1);
        let echoed = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
        let base = json!({
            "id": id, "object": "response", "created_at": created, "status": "in_progress",
            "error": null, "incomplete_details": null, "model": app.settings.model,
            "instructions": echoed("instructions"), "metadata": fields.get("metadata").cloned().unwrap_or(json!({})),
            "max_output_tokens": echoed("max_output_tokens"), "output": [],
            "parallel_tool_calls": true, "previous_response_id": null, "store": false,
            "temperature": fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
            "top_p": fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0),
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "truncation": "disabled", "usage": null, "user": echoed("user"),
        });
        Ok(Self { item_id, base })
    }

    fn part(text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }

    fn item(&self, status: &str, content: &[Value]) -> Value {
        json!({"id": self.item_id, "type": "message", "role": "assistant", "status": status, "content": content})
    }

    fn ended(&self, text: &str, finish: Option<Finish>, run: &Run) -> Value {
        let mut response = self.base.clone();
        let status = status(finish);
        response["status"] = status.into();
        if status == "incomplete" {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        response["output"] = json!([self.item(status, &[Self::part(text)])]);
        response["usage"] = json!({
            "input_tokens": run.prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": run.produced, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": run.prompt_tokens + run.produced,
        });
        response
    }
}

fn status(finish: Option<Finish>) -> &'static str {
    if finish == Some(Finish::Length) { "incomplete" } else { "completed" }
}

/// The stream of typed events, numbered.
struct Events {
    shape: Shape,
    number: u64,
    text: String,
}

impl Events {
    fn send(&mut self, kind: &str, mut data: Value, out: &mut BytesMut) {
        data["type"] = kind.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        wire::event(out, kind, &data);
    }

    fn delta(&mut self, text: &str, out: &mut BytesMut) {
        wire::raw(
            out,
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"content_index\":0,\"output_index\":0,\"logprobs\":[],\"item_id\":",
        );
        wire::string(out, &self.shape.item_id);
        wire::raw(out, ",\"sequence_number\":");
        wire::number(out, usize::try_from(self.number).unwrap_or(usize::MAX));
        wire::raw(out, ",\"delta\":");
        wire::string(out, text);
        wire::raw(out, "}\n\n");
        self.number += 1;
    }
}

impl Format for Events {
    fn begin(&mut self, _: &Run, out: &mut BytesMut) {
        let response = self.shape.base.clone();
        self.send("response.created", json!({"response": response}), out);
        let response = self.shape.base.clone();
        self.send("response.in_progress", json!({"response": response}), out);
        let item = self.shape.item("in_progress", &[]);
        self.send("response.output_item.added", json!({"output_index": 0, "item": item}), out);
        let part = json!({
            "item_id": self.shape.item_id, "output_index": 0, "content_index": 0, "part": Shape::part(""),
        });
        self.send("response.content_part.added", part, out);
    }

    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut) {
        let text = &run.sequence(at).out.text;
        if !text.is_empty() {
            self.text.push_str(text);
            self.delta(text, out);
        }
    }

    fn end(&mut self, run: &Run, out: &mut BytesMut) {
        let finish = run.sequence(0).finish;
        let place = json!({"item_id": self.shape.item_id, "output_index": 0, "content_index": 0, "logprobs": []});
        let mut done = place.clone();
        done["text"] = self.text.as_str().into();
        self.send("response.output_text.done", done, out);
        let part = Shape::part(&self.text);
        let mut done = place;
        done["part"] = part.clone();
        self.send("response.content_part.done", done, out);
        let item = self.shape.item(status(finish), &[part]);
        self.send("response.output_item.done", json!({"output_index": 0, "item": item}), out);
        let response = self.shape.ended(&self.text, finish, run);
        let kind = format!("response.{}", status(finish));
        self.send(&kind, json!({"response": response}), out);
    }
}
