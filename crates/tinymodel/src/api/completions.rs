//! `POST /v1/completions`: text or token ids in, what follows out.

use bytes::BytesMut;
use http::StatusCode;
use serde_json::Value;

use super::{Answer, chat};
use crate::app::App;
use crate::body::{Format, Reply};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::params::{Names, Shared};
use crate::run::{Done, Run};
use crate::token::{Id, Tokenizer};
use crate::wire;

/// OpenAI's default limit for this endpoint is 16.
const NAMES: Names = Names { max_tokens: &["max_tokens"], default_max: 16, stop: "stop" };
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
        let start = chat::event_start(app, &head, "text_completion");
        return Ok(Reply::stream(run, Chunks { start, kept, include_usage }));
    }
    let (done, run) = run.finish().await;
    let mut out = chat::whole_start(app, &head, "text_completion");
    write_whole(&mut out, &done, &kept, &run);
    Ok(Reply::json(StatusCode::OK, out))
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

fn write_whole(out: &mut BytesMut, done: &[Done], kept: &Kept, run: &Run) {
    wire::raw(out, ",\"choices\":[");
    for (index, choice) in done.iter().enumerate() {
        wire::raw(out, if index == 0 { "{\"index\":" } else { ",{\"index\":" });
        wire::number(out, index);
        wire::raw(out, ",\"text\":");
        match kept.echo(index) {
            Some(prompt) => wire::string(out, &format!("{prompt}{}", choice.text)),
            None => wire::string(out, &choice.text),
        }
        wire::raw(out, ",\"logprobs\":null,\"finish_reason\":");
        wire::string_or_null(out, choice.finish.map(|finish| finish.word()));
        wire::raw(out, ",\"stop_reason\":");
        wire::string_or_null(out, choice.stop.as_deref());
        if let Some(prompt) = kept.prompt_ids(index) {
            wire::raw(out, ",\"token_ids\":");
            wire::ids(out, &choice.ids);
            wire::raw(out, ",\"prompt_token_ids\":");
            wire::ids(out, prompt);
        }
        wire::raw(out, "}");
    }
    wire::raw(out, "],\"usage\":");
    wire::usage(out, run.prompt_tokens, run.produced);
    wire::raw(out, "}");
}

struct Chunks {
    start: String,
    kept: Kept,
    include_usage: bool,
}

impl Chunks {
    fn open(&self, index: usize, text: &str, out: &mut BytesMut) {
        wire::raw(out, &self.start);
        wire::raw(out, ",\"choices\":[{\"index\":");
        wire::number(out, index);
        wire::raw(out, ",\"text\":");
        wire::string(out, text);
        wire::raw(out, ",\"logprobs\":null,\"finish_reason\":");
    }

    fn close(&self, out: &mut BytesMut) {
        wire::raw(out, if self.include_usage { "}],\"usage\":null}\n\n" } else { "}]}\n\n" });
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
            wire::raw(out, "null");
            if let Some(ids) = ids {
                wire::raw(out, ",\"token_ids\":[],\"prompt_token_ids\":");
                wire::ids(out, ids);
            }
            self.close(out);
        }
    }

    fn step(&mut self, run: &Run, at: usize, out: &mut BytesMut) {
        let sequence = run.sequence(at);
        let released = &sequence.out;
        if !released.text.is_empty() || (self.kept.ids.is_some() && !released.ids.is_empty()) {
            self.open(at, &released.text, out);
            wire::raw(out, "null");
            if self.kept.ids.is_some() {
                wire::raw(out, ",\"token_ids\":");
                wire::ids(out, &released.ids);
            }
            self.close(out);
        }
        if let Some(finish) = sequence.finish {
            self.open(at, "", out);
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
