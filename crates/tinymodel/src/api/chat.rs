//! `POST /v1/chat/completions`.

use bytes::BytesMut;
use http::StatusCode;

use super::Answer;
use crate::app::{App, Head};
use crate::body::{Format, Reply};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::params::{Names, Shared};
use crate::prompt::{Ending, Turn, render};
use crate::run::{Done, Run};
use crate::token::Id;
use crate::wire;

const NAMES: Names =
    Names { max_tokens: &["max_completion_tokens", "max_tokens"], default_max: 128, stop: "stop" };

/// Answers a conversation.
pub(crate) async fn chat(app: &App, fields: &Fields) -> Answer {
    let shared = Shared::read(app, fields, NAMES)?;
    let turns = Turn::read_all(fields.need("messages")?, "messages")?;
    let prompt = render(&app.model.tokenizer, &turns, ending(fields, &turns)?);
    let prompt_ids = shared.return_ids.then(|| prompt.clone());
    let (stream, include_usage) = (shared.stream, shared.include_usage);
    let run = Run::start(app, shared.job(app, vec![prompt])?).await?;
    let head = app.head("chatcmpl-");
    if stream {
        let format = Chunks { start: start(app, &head), prompt_ids, include_usage };
        return Ok(Reply::stream(run, format));
    }
    let (done, run) = run.finish().await;
    Ok(Reply::json(StatusCode::OK, whole(app, &head, &done, prompt_ids.as_deref(), &run)))
}

/// How vLLM's two switches end the prompt; it refuses both at once, and so does this.
pub(super) fn ending(fields: &Fields, turns: &[Turn]) -> Result<Ending, ApiError> {
    let go_on = fields.flag("continue_final_message", false)?;
    let open = fields.flag("add_generation_prompt", true)?;
    if go_on && open {
        let why = "cannot be set together with `add_generation_prompt`, which is true unless set to false";
        return Err(ApiError::param("continue_final_message", why));
    }
    if go_on && !turns.last().is_some_and(Turn::is_assistant) {
        let why = "needs a last message from the assistant";
        return Err(ApiError::param("continue_final_message", why));
    }
    Ok(match (go_on, open) {
        (true, _) => Ending::Continue,
        (_, true) => Ending::Answer,
        _ => Ending::Closed,
    })
}

fn head_json(app: &App, head: &Head, object: &str, out: &mut BytesMut) {
    wire::raw(out, "{\"id\":");
    wire::string(out, &head.id);
    wire::raw(out, ",\"object\":");
    wire::string(out, object);
    wire::raw(out, ",\"created\":");
    wire::number(out, head.created as usize);
    wire::raw(out, ",\"model\":");
    wire::string(out, &app.settings.model);
    wire::raw(out, ",\"system_fingerprint\":");
    wire::string(out, &app.model.fingerprint);
}

/// The part that all events of a stream share.
pub(super) fn event_start(app: &App, head: &Head, object: &str) -> String {
    let mut out = BytesMut::new();
    wire::raw(&mut out, "data: ");
    head_json(app, head, object, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The part that all unary answers share.
pub(super) fn whole_start(app: &App, head: &Head, object: &str) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    head_json(app, head, object, &mut out);
    out
}

fn start(app: &App, head: &Head) -> String {
    event_start(app, head, "chat.completion.chunk")
}

fn whole(app: &App, head: &Head, done: &[Done], prompt_ids: Option<&[Id]>, run: &Run) -> BytesMut {
    let mut out = whole_start(app, head, "chat.completion");
    wire::raw(&mut out, ",\"choices\":[");
    for (index, choice) in done.iter().enumerate() {
        wire::raw(&mut out, if index == 0 { "{\"index\":" } else { ",{\"index\":" });
        wire::number(&mut out, index);
        wire::raw(&mut out, ",\"message\":{\"role\":\"assistant\",\"content\":");
        wire::string(&mut out, &choice.text);
        wire::raw(&mut out, ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":");
        wire::string_or_null(&mut out, choice.finish.map(|finish| finish.word()));
        wire::raw(&mut out, ",\"stop_reason\":");
        wire::string_or_null(&mut out, choice.stop.as_deref());
        if prompt_ids.is_some() {
            wire::raw(&mut out, ",\"token_ids\":");
            wire::ids(&mut out, &choice.ids);
        }
        wire::raw(&mut out, "}");
    }
    wire::raw(&mut out, "],\"usage\":");
    wire::usage(&mut out, run.prompt_tokens, run.produced);
    if let Some(ids) = prompt_ids {
        wire::raw(&mut out, ",\"prompt_token_ids\":");
        wire::ids(&mut out, ids);
    }
    wire::raw(&mut out, "}");
    out
}

/// Chat's stream: a role for every choice, a chunk per token, a finish reason, `[DONE]`.
struct Chunks {
    start: String,
    prompt_ids: Option<Vec<Id>>,
    include_usage: bool,
}

impl Chunks {
    fn open(&self, index: usize, out: &mut BytesMut) {
        wire::raw(out, &self.start);
        wire::raw(out, ",\"choices\":[{\"index\":");
        wire::number(out, index);
        wire::raw(out, ",\"delta\":{");
    }

    fn close(&self, out: &mut BytesMut) {
        // OpenAI: every chunk has the field once it was asked for.
        wire::raw(out, if self.include_usage { "}],\"usage\":null}\n\n" } else { "}]}\n\n" });
    }
}

impl Format for Chunks {
    fn begin(&mut self, run: &Run, out: &mut BytesMut) {
        for index in 0..run.choices() {
            self.open(index, out);
            wire::raw(
                out,
                "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null",
            );
            // vLLM: the prompt's ids stand beside the choices of the first chunk.
            if let Some(ids) = self.prompt_ids.as_ref().filter(|_| index == 0) {
                wire::raw(out, "}],\"prompt_token_ids\":");
                wire::ids(out, ids);
                wire::raw(out, if self.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" });
            } else {
                self.close(out);
            }
        }
    }

    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut) {
        let sequence = run.sequence(at);
        let released = &sequence.out;
        if !released.text.is_empty() || (self.prompt_ids.is_some() && !released.ids.is_empty()) {
            self.open(at, out);
            wire::raw(out, "\"content\":");
            wire::string(out, &released.text);
            wire::raw(out, "},\"logprobs\":null,\"finish_reason\":null");
            if self.prompt_ids.is_some() {
                wire::raw(out, ",\"token_ids\":");
                wire::ids(out, &released.ids);
            }
            self.close(out);
        }
        if let Some(finish) = sequence.finish {
            self.open(at, out);
            wire::raw(out, "},\"logprobs\":null,\"finish_reason\":");
            wire::string(out, finish.word());
            wire::raw(out, ",\"stop_reason\":");
            wire::string_or_null(out, sequence.stop_string());
            self.close(out);
        }
    }

    fn end(&mut self, run: &Run, out: &mut BytesMut) {
        if self.include_usage {
            wire::raw(out, &self.start);
            wire::raw(out, ",\"choices\":[],\"usage\":");
            wire::usage(out, run.prompt_tokens, run.produced);
            wire::raw(out, "}\n\n");
        }
        wire::raw(out, "data: [DONE]\n\n");
    }
}
