//! The rungs of the ladder, and the request that each one sends.

use super::Api;
use super::ask::{Ask, Sampling};
use super::ledger::{Ledger, Step};
use super::notes::Channel;
use serde_json::{Map, Value, json};

/// One way to go on with an answer elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Rung {
    /// The prompt's and the answer's token ids as a new prompt. Exact.
    Replay = 0,
    /// The text so far as the beginning of the assistant's answer.
    Prefill = 1,
    /// The same request again; what the client has is dropped while it matches.
    Regenerate = 2,
}

impl Rung {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Replay => "token_replay",
            Self::Prefill => "prefill",
            Self::Regenerate => "regenerate",
        }
    }
}

/// A request that goes on with an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Onward {
    /// Where it is sent, where that is not the client's path.
    pub(crate) path: Option<&'static str>,
    pub(crate) body: Vec<u8>,
    /// Place in the client's text where the answer will begin.
    pub(crate) from: Step,
}

/// Fields of a chat request that `/v1/completions` knows by the same name.
const SHARED: [&str; 19] = [
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "logit_bias",
    "user",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "skip_special_tokens",
    "include_stop_str_in_output",
    "stream_options",
    "spaces_between_special_tokens",
    "priority",
];

/// Overlap of a text with a greedy answer, in tokens: enough to notice that it was cut into
/// other tokens.
const TEXT_OVERLAP: usize = 4;
/// The same where ids are exact: proof that the replica is in the same state.
const IDS_OVERLAP: usize = 1;

/// The request for a rung; `None` where it cannot be made.
pub(crate) fn onward(rung: Rung, ask: &Ask, ledger: &Ledger, original: &[u8]) -> Option<Onward> {
    if rung == Rung::Regenerate {
        return Some(Onward { path: None, body: original.to_vec(), from: Step::default() });
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(original).ok()?;
    let greedy = ask.sampling == Sampling::Greedy && !ask.penalised;
    let overlap = match rung {
        Rung::Replay => IDS_OVERLAP,
        _ => TEXT_OVERLAP,
    };
    let from = ledger.step_back(if greedy { overlap } else { 0 });
    if from.text == 0 {
        return None;
    }
    let given = if rung == Rung::Replay { from.ids as u64 } else { from.events };
    shrink(&mut fields, ask, given)?;
    let path = match rung {
        Rung::Replay => replay(&mut fields, ask, ledger, from)?,
        _ => {
            let text = ledger.text(Channel::content(0)).get(..from.text)?;
            prefill(&mut fields, ask.api, text)?;
            None
        }
    };
    let body = serde_json::to_vec(&fields).ok()?;
    Some(Onward { path, body, from })
}

/// What is left of the limits of the answer's length; `None` when nothing is.
fn shrink(fields: &mut Map<String, Value>, ask: &Ask, given: u64) -> Option<()> {
    if let Some(most) = ask.max_tokens {
        let left = most.checked_sub(given).filter(|left| *left > 0)?;
        for name in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
            if let Some(value) = fields.get_mut(name).filter(|v| !v.is_null()) {
                *value = left.into();
            }
        }
    }
    if let Some(least) = fields.get("min_tokens").and_then(Value::as_u64) {
        fields.insert("min_tokens".into(), least.saturating_sub(given).into());
    }
    Some(())
}

fn replay(
    fields: &mut Map<String, Value>,
    ask: &Ask,
    ledger: &Ledger,
    from: Step,
) -> Option<Option<&'static str>> {
    let ids = ledger.ids.as_ref()?;
    let prompt: Vec<u32> = ids.prompt.iter().chain(ids.answer.get(..from.ids)?).copied().collect();
    let mut path = None;
    if ask.api == Api::Chat {
        path = Some("/v1/completions");
        let limit = fields.get("max_completion_tokens").or(fields.get("max_tokens")).cloned();
        fields.retain(|name, _| SHARED.contains(&&**name) || name == "min_tokens");
        fields.insert("max_tokens".into(), limit?);
    }
    fields.insert("prompt".into(), json!(prompt));
    fields.insert("return_token_ids".into(), true.into());
    // The chat template has set its own beginning already.
    fields.insert("add_special_tokens".into(), false.into());
    fields.insert("stream".into(), true.into());
    Some(path)
}

fn prefill(fields: &mut Map<String, Value>, api: Api, text: &str) -> Option<()> {
    match api {
        Api::Completions => {
            let prompt = fields.get("prompt")?.as_str()?;
            let longer = format!("{prompt}{text}");
            fields.insert("prompt".into(), longer.into());
        }
        Api::Chat => {
            push_assistant(fields, text)?;
            fields.insert("continue_final_message".into(), true.into());
            fields.insert("add_generation_prompt".into(), false.into());
        }
        Api::Messages => push_assistant(fields, text)?,
        Api::Responses => return None,
    }
    fields.insert("stream".into(), true.into());
    Some(())
}

fn push_assistant(fields: &mut Map<String, Value>, text: &str) -> Option<()> {
    let messages = fields.get_mut("messages")?.as_array_mut()?;
    // A conversation that ends with the assistant is being continued already: its last
    // message is longer then.
    if let Some(last) = messages.last_mut()
        && last.get("role").and_then(Value::as_str) == Some("assistant")
    {
        let before = last.get("content")?.as_str()?.to_owned();
        last["content"] = format!("{before}{text}").into();
        return Some(());
    }
    messages.push(json!({ "role": "assistant", "content": text }));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::notes;

    fn ledger(texts: &[(&str, u32)]) -> Ledger {
        let mut ledger = Ledger::default();
        let head = r#"{"prompt_token_ids":[7,8],"choices":[{"delta":{"role":"assistant"}}]}"#;
        ledger.apply(&notes::read(Api::Chat, "", head).unwrap());
        for (text, id) in texts {
            let event =
                json!({"choices": [{"delta": {"content": text}, "token_ids": [id]}]}).to_string();
            ledger.apply(&notes::read(Api::Chat, "", &event).unwrap());
        }
        ledger
    }

    fn ask(body: &str) -> Ask {
        Ask::read(Api::Chat, body.as_bytes()).unwrap()
    }

    #[test]
    fn each_rung_asks_for_the_rest() {
        let free = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":9,"stream":true}"#;
        let held = ledger(&[("a", 1), ("b", 2), ("c", 3)]);
        let got = onward(Rung::Replay, &ask(free), &held, free.as_bytes()).unwrap();
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!((got.path, got.from.text), (Some("/v1/completions"), 3));
        assert_eq!((&body["prompt"], &body["max_tokens"]), (&json!([7, 8, 1, 2, 3]), &json!(6)));
        assert!(body.get("messages").is_none());
        let got = onward(Rung::Prefill, &ask(free), &held, free.as_bytes()).unwrap();
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "abc"}));
        assert_eq!(
            (&body["continue_final_message"], &body["max_tokens"]),
            (&json!(true), &json!(6))
        );
        let got = onward(Rung::Regenerate, &ask(free), &held, free.as_bytes()).unwrap();
        assert_eq!(got.body, free.as_bytes());
    }

    #[test]
    fn a_greedy_continuation_overlaps() {
        let greedy = r#"{"messages":[],"temperature":0,"max_tokens":9}"#;
        let held = ledger(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6)]);
        let replay = onward(Rung::Replay, &ask(greedy), &held, greedy.as_bytes()).unwrap();
        assert_eq!((replay.from.text, replay.from.ids), (5, 5));
        let prefill = onward(Rung::Prefill, &ask(greedy), &held, greedy.as_bytes()).unwrap();
        assert_eq!(prefill.from.text, 2);
    }

    #[test]
    fn nothing_left_nothing_asked() {
        let free = r#"{"messages":[],"max_tokens":2}"#;
        let held = ledger(&[("a", 1), ("b", 2)]);
        assert_eq!(onward(Rung::Replay, &ask(free), &held, free.as_bytes()), None);
        assert_eq!(onward(Rung::Prefill, &ask(free), &Ledger::default(), free.as_bytes()), None);
    }
}
