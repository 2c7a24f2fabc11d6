//! `POST /v1/completions`: text or token ids in, what follows out.

use bytes::BytesMut;
use http::StatusCode;
use serde_json::Value;

use super::Answer;
use super::openai::{self, Events};
use crate::app::{App, Head};
use crate::body::{Format, Reply};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::params::{Names, Shared};
use crate::run::{Done, Run};
use crate::token::{Id, Tokenizer};
use crate::wire;

/// OpenAI's default limit for this endpoint is 16.
const NAMES: Names = Names { max_tokens: &["max_tokens"], default_max: 16, stop: "stop" };
/// What unary answers and events are called alike.
const OBJECT: &str = "text_completion";
/// Prompts in one request, at most.
const MOST_PROMPTS: usize = 256;

/// Continues one or more prompts.
pub(crate) async fn completions(app: &App, fields: &Fields) -> Answer {
    let shared = Shared::read(app, fields, NAMES)?;
    let prompts = inputs(&app.model.tokenizer, fields.need("prompt")?, "prompt")?;
    let echo = fields.flag("echo", false)?;
    let kept = Kept {
        n: shared.n,
        echoed: echo.then(|| prompts.iter().map(|ids| app.model.tokenizer.decode(ids)).collect()),
        ids: shared.return_ids.then(|| prompts.clone()),
    };
    let (stream, include_usage) = (shared.stream, shared.include_usage);
    let run = Run::start(app, shared.job(app, prompts)?).await?;
    let head = app.head("cmpl-");
    if stream {
        let events = Events::new(app, &head, OBJECT, include_usage);
        return Ok(Reply::stream(run, Chunks { events, kept }));
    }
    let (done, run) = run.finish().await;
    Ok(Reply::json(StatusCode::OK, whole(app, &head, &done, &kept, &run)))
}

/// Reads a string, a list of strings, a list of token ids, or a list of such lists.
pub(super) fn inputs(
    tokenizer: &Tokenizer,
    value: &Value,
    name: &'static str,
) -> Result<Vec<Vec<Id>>, ApiError> {
    let wrong = || {
        ApiError::param(
            name,
            "must be a string, a list of strings, token ids, or a list of lists of token ids",
        )
    };
    let one = |value: &Value| match value {
        Value::String(text) => Some(Ok(tokenizer.encode(text))),
        Value::Array(ids) => Some(token_ids(tokenizer, ids, name)),
        _ => None,
    };
    let found: Vec<Vec<Id>> = match value {
        Value::String(text) => vec![tokenizer.encode(text)],
        Value::Array(ids) if ids.first().is_some_and(Value::is_number) => {
            vec![token_ids(tokenizer, ids, name)?]
        }
        Value::Array(many) if !many.is_empty() => {
            many.iter().map(|value| one(value).ok_or_else(wrong)?).collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    if found.len() > MOST_PROMPTS {
        return Err(ApiError::param(name, format!("may hold {MOST_PROMPTS} entries at most")));
    }
    Ok(found)
}

/// Reads token ids of this vocabulary.
pub(super) fn token_ids(
    tokenizer: &Tokenizer,
    ids: &[Value],
    name: &str,
) -> Result<Vec<Id>, ApiError> {
    let known = tokenizer.len();
    let read = |value: &Value| {
        let id = value.as_u64().and_then(|id| Id::try_from(id).ok());
        id.filter(|&id| (id as usize) < known).ok_or_else(|| {
            ApiError::param(name, format!("may hold token ids from 0 to {} only", known - 1))
        })
    };
    ids.iter().map(read).collect()
}

/// What of the prompts goes into the answer.
struct Kept {
    n: usize,
    echoed: Option<Vec<String>>,
    ids: Option<Vec<Vec<Id>>>,
}

impl Kept {
    fn echo(&self, choice: usize) -> Option<&str> {
        self.echoed.as_ref()?.get(choice / self.n).map(String::as_str)
    }

    fn prompt_ids(&self, choice: usize) -> Option<&[Id]> {
        self.ids.as_ref()?.get(choice / self.n).map(Vec::as_slice)
    }
}

fn whole(app: &App, head: &Head, done: &[Done], kept: &Kept, run: &Run) -> BytesMut {
    let mut out = openai::whole_start(app, head, OBJECT);
    for (index, choice) in done.iter().enumerate() {
        openai::choice_start(index, &mut out);
        wire::raw(&mut out, ",\"text\":");
        match kept.echo(index) {
            Some(prompt) => wire::string(&mut out, &format!("{prompt}{}", choice.text)),
            None => wire::string(&mut out, &choice.text),
        }
        openai::finish_reason(choice.finish.map(|finish| finish.word()), &mut out);
        openai::stop_reason(choice.stop.as_deref(), &mut out);
        if let Some(prompt) = kept.prompt_ids(index) {
            wire::raw(&mut out, ",\"token_ids\":");
            wire::ids(&mut out, &choice.ids);
            wire::raw(&mut out, ",\"prompt_token_ids\":");
            wire::ids(&mut out, prompt);
        }
        wire::raw(&mut out, "}");
    }
    openai::whole_usage(run, &mut out);
    wire::raw(&mut out, "}");
    out
}

/// The stream: what is echoed of each prompt, a chunk per token, a finish reason, `[DONE]`.
struct Chunks {
    events: Events,
    kept: Kept,
}

impl Chunks {
    fn open(&self, index: usize, text: &str, out: &mut BytesMut) {
        self.events.open(index, out);
        wire::raw(out, ",\"text\":");
        wire::string(out, text);
    }
}

impl Format for Chunks {
    fn begin(&mut self, run: &Run, out: &mut BytesMut) {
        for index in 0..run.choices() {
            let (echo, ids) = (self.kept.echo(index), self.kept.prompt_ids(index));
            if echo.is_none() && ids.is_none() {
                continue;
            }
            self.open(index, echo.unwrap_or_default(), out);
            openai::finish_reason(None, out);
            if let Some(ids) = ids {
                wire::raw(out, ",\"token_ids\":[],\"prompt_token_ids\":");
                wire::ids(out, ids);
            }
            self.events.close(out);
        }
    }

    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut) {
        let sequence = run.sequence(at);
        let released = &sequence.out;
        if !released.text.is_empty() || (self.kept.ids.is_some() && !released.ids.is_empty()) {
            self.open(at, &released.text, out);
            openai::finish_reason(None, out);
            if self.kept.ids.is_some() {
                wire::raw(out, ",\"token_ids\":");
                wire::ids(out, &released.ids);
            }
            self.events.close(out);
        }
        if let Some(finish) = sequence.finish {
            self.open(at, "", out);
            openai::finish_reason(Some(finish.word()), out);
            openai::stop_reason(sequence.stop_string(), out);
            self.events.close(out);
        }
    }

    fn end(&mut self, run: &Run, out: &mut BytesMut) {
        self.events.end(run, out);
    }
}
