//! What a request says that decides how its answer can be carried on.

use super::Api;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// Temperature 0: the state after the same tokens is the same.
    Greedy,
    /// A seed: the same request gives the same answer, but only from its beginning.
    Seeded,
    /// Freely: no two answers are alike.
    Free,
}

/// A request for a stream, as far as resuming goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    pub(crate) api: Api,
    pub(crate) sampling: Sampling,
    /// Answers asked for.
    pub(crate) choices: u32,
    /// The client wants usage at the end.
    pub(crate) usage: bool,
    /// Limit of the answer's tokens.
    pub(crate) max_tokens: Option<u64>,
    /// Nothing in it keeps state that a continuation would lose: grammar, tools, several
    /// answers, log-probabilities, reasoning.
    pub(crate) plain: bool,
    /// Penalties look back on the answer's own tokens, which a continuation takes for the
    /// prompt's.
    pub(crate) penalised: bool,
    /// The prompt of `/v1/completions` is one text.
    pub(crate) text_prompt: bool,
    /// The client wants token ids itself.
    pub(crate) wants_ids: bool,
    /// The client gets one JSON object, for which the replica is asked for a stream.
    pub(crate) unary: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    n: Option<f64>,
    best_of: Option<f64>,
    temperature: Option<f64>,
    top_k: Option<f64>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    max_tokens: Option<f64>,
    max_completion_tokens: Option<f64>,
    max_output_tokens: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    repeat_penalty: Option<f64>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    echo: Option<&'a RawValue>,
    #[serde(borrow)]
    suffix: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    grammar: Option<&'a RawValue>,
    #[serde(borrow)]
    json_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    structured_outputs: Option<&'a RawValue>,
    #[serde(borrow)]
    guided_json: Option<&'a RawValue>,
    #[serde(borrow)]
    guided_regex: Option<&'a RawValue>,
    #[serde(borrow)]
    guided_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    guided_grammar: Option<&'a RawValue>,
    #[serde(borrow)]
    continue_final_message: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    return_token_ids: Option<&'a RawValue>,
}

/// Values that ask for nothing.
fn is_set(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|r| !matches!(r.get(), "null" | "false" | "[]" | "{}" | "0" | "\"\""))
}

fn penalty(value: Option<f64>, neutral: f64) -> bool {
    value.is_some_and(|v| (v - neutral).abs() > f64::EPSILON)
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Ask {
    /// Reads a request's body. `None` when it is not understood: it then goes through
    /// without being watched, and the replica says what is wrong with it.
    pub(crate) fn read(api: Api, body: &[u8]) -> Option<Self> {
        let f: Fields<'_> = serde_json::from_slice(body).ok()?;
        let choices = count(f.n).unwrap_or(1).max(1);
        let text_format = f.response_format.is_none_or(|r| is_text_format(r.get()));
        let stateful = [
            f.tools,
            f.functions,
            f.logprobs,
            f.echo,
            f.suffix,
            f.thinking,
            f.grammar,
            f.json_schema,
            f.structured_outputs,
            f.guided_json,
            f.guided_regex,
            f.guided_choice,
            f.guided_grammar,
            f.continue_final_message,
        ]
        .into_iter()
        .any(is_set);
        let usage = f.stream_options.and_then(|r| serde_json::from_str(r.get()).ok());
        let usage = usage.and_then(|o: StreamOptions| o.include_usage).unwrap_or(false);
        Some(Self {
            api,
            sampling: sampling(&f),
            choices: u32::try_from(choices).ok()?,
            usage,
            max_tokens: count(f.max_completion_tokens.or(f.max_tokens).or(f.max_output_tokens)),
            plain: choices == 1 && count(f.best_of).unwrap_or(1) <= 1 && text_format && !stateful,
            penalised: penalty(f.frequency_penalty, 0.0)
                || penalty(f.presence_penalty, 0.0)
                || penalty(f.repetition_penalty, 1.0)
                || penalty(f.repeat_penalty, 1.0),
            text_prompt: f.prompt.is_some_and(|r| r.get().starts_with('"')),
            wants_ids: is_set(f.return_token_ids),
            unary: false,
        })
    }

    /// Whether its answer could be gone on with from token ids.
    pub(crate) fn can_replay(&self) -> bool {
        self.plain
            && !self.wants_ids
            && match self.api {
                Api::Completions => true,
                // A chat's own limit is unknown to the endpoint that takes ids.
                Api::Chat => self.max_tokens.is_some(),
                Api::Responses | Api::Messages => false,
            }
    }
}

fn count(value: Option<f64>) -> Option<u64> {
    value.filter(|v| *v >= 0.0 && v.fract() == 0.0 && *v < 1e15).map(|v| v as u64)
}

fn is_text_format(raw: &str) -> bool {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a str>,
    }
    raw == "null" || serde_json::from_str::<Format<'_>>(raw).is_ok_and(|f| f.kind == Some("text"))
}

fn sampling(f: &Fields<'_>) -> Sampling {
    if f.temperature == Some(0.0) || f.top_k == Some(1.0) {
        Sampling::Greedy
    } else if is_set_number(f.seed) {
        Sampling::Seeded
    } else {
        Sampling::Free
    }
}

fn is_set_number(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|r| r.get() != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Ask {
        Ask::read(Api::Chat, text.as_bytes()).unwrap()
    }

    #[test]
    fn sampling_is_read() {
        assert_eq!(ask(r#"{"stream":true,"temperature":0}"#).sampling, Sampling::Greedy);
        assert_eq!(ask(r#"{"temperature":0.7,"top_k":1}"#).sampling, Sampling::Greedy);
        assert_eq!(ask(r#"{"seed":0}"#).sampling, Sampling::Seeded);
        assert_eq!(ask(r#"{"seed":null}"#).sampling, Sampling::Free);
        assert_eq!(ask("{}").sampling, Sampling::Free);
    }

    #[test]
    fn what_keeps_state_is_not_plain() {
        assert!(ask(r#"{"messages":[],"tools":[],"response_format":{"type":"text"}}"#).plain);
        for field in [
            r#""n":2"#,
            r#""best_of":3"#,
            r#""tools":[{"type":"function"}]"#,
            r#""response_format":{"type":"json_object"}"#,
            r#""logprobs":true"#,
            r#""logprobs":3"#,
            r#""guided_json":{"type":"object"}"#,
            r#""echo":true"#,
            r#""continue_final_message":true"#,
        ] {
            assert!(!ask(&format!("{{{field}}}")).plain, "{field}");
        }
        assert!(ask(r#"{"presence_penalty":0.5}"#).penalised);
        assert!(!ask(r#"{"repetition_penalty":1.0,"presence_penalty":0}"#).penalised);
    }

    #[test]
    fn limits_and_options() {
        let ask = ask(r#"{"max_tokens":5,"max_completion_tokens":7,"stream":true,
                "stream_options":{"include_usage":true},"return_token_ids":true}"#);
        assert_eq!(
            (ask.max_tokens, ask.usage, ask.wants_ids, ask.unary),
            (Some(7), true, true, false)
        );
        assert!(Ask::read(Api::Chat, br#"{"n":"two"}"#).is_none());
        assert!(Ask::read(Api::Chat, b"nope").is_none());
    }
}
