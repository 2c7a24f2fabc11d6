//! The fields that every generating endpoint shares.

use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generate::Params;
use crate::run::Job;
use crate::sample::Choice;
use crate::text::Stops;
use crate::token::Id;

/// Answers to one prompt, at most. A bound on the work one slot can hide.
const MOST_CHOICES: i64 = 64;
/// Stop strings, at most; each is looked for at every token.
const MOST_STOPS: usize = 16;

/// What one API calls the shared fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// Names for the token limit; the first that is there counts.
    pub(crate) max_tokens: &'static [&'static str],
    /// The limit when none is given.
    pub(crate) default_max: usize,
    /// The name for stop strings.
    pub(crate) stop: &'static str,
}

/// The shared fields of one request.
#[derive(Debug)]
pub(crate) struct Shared {
    params: Params,
    asked_max: Option<usize>,
    names: Names,
    /// Answers to each prompt.
    pub(crate) n: usize,
    /// Whether to stream.
    pub(crate) stream: bool,
    /// Whether a stream ends with its usage.
    pub(crate) include_usage: bool,
    /// Whether token ids are returned.
    pub(crate) return_ids: bool,
}

impl Shared {
    /// Reads and checks the fields.
    pub(crate) fn read(app: &App, fields: &Fields, names: Names) -> Result<Self, ApiError> {
        app.check_model(fields)?;
        refuse(fields)?;
        let asked_max = first_count(fields, names.max_tokens)?;
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        let params = Params {
            max_tokens: 0,
            min_tokens: fields.count("min_tokens", 0)?.unwrap_or(0),
            ignore_eos: fields.flag("ignore_eos", false)?,
            choice: choice(fields)?,
            seed: seed.map_or_else(|| app.next_seed(), i64::cast_unsigned),
            stops: Stops {
                strings: fields.strings(names.stop, MOST_STOPS)?,
                shown: fields.flag("include_stop_str_in_output", false)?,
            },
        };
        Ok(Self {
            params,
            asked_max,
            names,
            n: fields.integer("n", 1..=MOST_CHOICES)?.map_or(1, |n| n as usize),
            stream: fields.flag("stream", false)?,
            include_usage: include_usage(fields)?,
            return_ids: fields.flag("return_token_ids", false)?,
        })
    }

    /// The job for `prompts`, if they and the answer fit the context.
    pub(crate) fn job(self, app: &App, prompts: Vec<Vec<Id>>) -> Result<Job, ApiError> {
        let limit = app.settings.context;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let asked = longest.saturating_add(self.asked_max.unwrap_or(1));
        if asked > limit {
            let name = self.names.max_tokens.first().copied().unwrap_or("max_tokens");
            return Err(ApiError::too_long(limit, asked, name));
        }
        let max_tokens = self.asked_max.unwrap_or(self.names.default_max.min(limit - longest));
        Ok(Job { prompts, n: self.n, params: Params { max_tokens, ..self.params } })
    }
}

fn first_count(fields: &Fields, names: &[&str]) -> Result<Option<usize>, ApiError> {
    for name in names {
        if let Some(found) = fields.count(name, 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn choice(fields: &Fields) -> Result<Choice, ApiError> {
    let top_k = fields.integer("top_k", -1..=i64::MAX)?.unwrap_or(-1);
    Ok(Choice {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32,
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0) as f32,
        // vLLM: -1 and 0 both mean all.
        top_k: usize::try_from(top_k).ok().filter(|&k| k > 0).unwrap_or(usize::MAX),
    })
}

fn include_usage(fields: &Fields) -> Result<bool, ApiError> {
    let Some(options) = fields.get("stream_options") else { return Ok(false) };
    match options.get("include_usage") {
        None | Some(Value::Null) if options.is_object() => Ok(false),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        _ => Err(ApiError::param("stream_options", "must be an object of truth values")),
    }
}

/// Fields that would change the answer in ways this model cannot follow. Ignoring them
/// would be a silent lie, so they are refused unless they ask for nothing.
fn refuse(fields: &Fields) -> Result<(), ApiError> {
    let off = |value: &Value| value == &Value::Bool(false) || value.as_f64() == Some(0.0);
    let one = |value: &Value| value.as_f64() == Some(1.0);
    let empty = |value: &Value| {
        value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_str() == Some("")
    };
    fields.refuse_unless("logprobs", |value| value == &Value::Bool(false))?;
    fields.refuse_unless("top_logprobs", off)?;
    fields.refuse_unless("prompt_logprobs", off)?;
    fields.refuse_unless("use_beam_search", off)?;
    fields.refuse_unless("frequency_penalty", off)?;
    fields.refuse_unless("presence_penalty", off)?;
    fields.refuse_unless("min_p", off)?;
    fields.refuse_unless("repetition_penalty", one)?;
    fields.refuse_unless("best_of", one)?;
    fields.refuse_unless("logit_bias", empty)?;
    fields.refuse_unless("suffix", empty)?;
    for name in
        ["guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"]
    {
        fields.refuse_unless(name, |_| false)?;
    }
    fields.refuse_unless("response_format", |value| value["type"] == "text")?;
    // Tools may be offered; this model never calls one, so it cannot be made to.
    fields.refuse_unless("tool_choice", |value| {
        let name = value.as_str().or_else(|| value["type"].as_str());
        matches!(name, Some("auto" | "none"))
    })
}
