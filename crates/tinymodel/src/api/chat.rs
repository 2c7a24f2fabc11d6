//! `POST /v1/chat/completions`.

use bytes::BytesMut;
use http::StatusCode;

use super::Answer;
use super::openai::{self, Events};
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
        let events = Events::new(app, &head, "chat.completion.chunk", include_usage);
        return Ok(Reply::stream(run, Chunks { events, prompt_ids }));
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

fn whole(app: &App, head: &Head, done: &[Done], prompt_ids: Option<&[Id]>, run: &Run) -> BytesMut {
    let mut out = openai::whole_start(app, head, "chat.completion");
    for (index, choice) in done.iter().enumerate() {
        openai::choice_start(index, &mut out);
        wire::raw(&mut out, ",\"message\":{\"role\":\"assistant\",\"content\":");
        wire::string(&mut out, &choice.text);
        wire::raw(&mut out, ",\"refusal\":null}");
        openai::finish_reason(choice.finish.map(|finish| finish.word()), &mut out);
        openai::stop_reason(choice.stop.as_deref(), &mut out);
        if prompt_ids.is_some() {
            wire::raw(&mut out, ",\"token_ids\":");
            wire::ids(&mut out, &choice.ids);
        }
        wire::raw(&mut out, "}");
    }
    openai::whole_usage(run, &mut out);
    if let Some(ids) = prompt_ids {
        wire::raw(&mut out, ",\"prompt_token_ids\":");
        wire::ids(&mut out, ids);
    }
    wire::raw(&mut out, "}");
    out
}

/// Chat's stream: a role for every choice, a chunk per token, a finish reason, `[DONE]`.
struct Chunks {
    events: Events,
    prompt_ids: Option<Vec<Id>>,
}

impl Chunks {
    fn open(&self, index: usize, out: &mut BytesMut) {
        self.events.open(index, out);
        wire::raw(out, ",\"delta\":{");
    }
}

impl Format for Chunks {
    fn begin(&mut self, run: &Run, out: &mut BytesMut) {
        for index in 0..run.choices() {
            self.open(index, out);
            wire::raw(out, "\"role\":\"assistant\",\"content\":\"\"}");
            openai::finish_reason(None, out);
            // vLLM: the prompt's ids stand beside the choices of the first chunk.
            if let Some(ids) = self.prompt_ids.as_ref().filter(|_| index == 0) {
                wire::raw(out, "}],\"prompt_token_ids\":");
                wire::ids(out, ids);
                self.events.close_event(out);
            } else {
                self.events.close(out);
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
            wire::raw(out, "}");
            openai::finish_reason(None, out);
            if self.prompt_ids.is_some() {
                wire::raw(out, ",\"token_ids\":");
                wire::ids(out, &released.ids);
            }
            self.events.close(out);
        }
        if let Some(finish) = sequence.finish {
            self.open(at, out);
            wire::raw(out, "}");
            openai::finish_reason(Some(finish.word()), out);
            openai::stop_reason(sequence.stop_string(), out);
            self.events.close(out);
        }
    }

    fn end(&mut self, run: &Run, out: &mut BytesMut) {
        self.events.end(run, out);
    }
}
