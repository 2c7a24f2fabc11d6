//! Answers that go on past what was asked for: a replica whose stop condition is broken would
//! generate for ever, and hold its slot and its client for as long.
//!
//! Tokens are counted as events, which servers send one for each token, or fewer. One that cut
//! a token into several is given some room, in which events are held back: the client never
//! gets more than it asked for from a replica that does not end.

use super::Api;
use super::ask::Ask;
use super::ledger::Ledger;
use super::notes::Notes;
use serde_json::{Value, json};

/// Events beyond the limit that may be tokens in pieces: so many, and one for so many tokens.
const ROOM: u64 = 8;
const ROOM_SHARE: u64 = 8;

/// What came beyond the limit.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    held: Vec<(String, String)>,
    /// The answer's own end is among what is held.
    ends: bool,
}

impl Excess {
    /// Whether this event is beyond the limit, or follows one that is.
    pub(crate) fn is_beyond(&mut self, ask: &Ask, ledger: &Ledger, notes: &Notes<'_>) -> bool {
        if !self.held.is_empty() {
            self.ends |= !notes.finished.is_empty();
            return true;
        }
        let Some(most) = ask.max_tokens.filter(|_| ask.choices == 1 && ask.api.has_choices())
        else {
            return false;
        };
        most > 0 && ledger.events >= most && !notes.texts.is_empty()
    }

    /// Holds an event back; false when no more is held: the answer has ended, or never does.
    pub(crate) fn hold(&mut self, ask: &Ask, kind: &str, data: &str) -> bool {
        let most = ask.max_tokens.unwrap_or(0);
        self.held.push((kind.to_owned(), data.to_owned()));
        if self.ends {
            return false;
        }
        if self.held.len() as u64 > ROOM + most / ROOM_SHARE {
            self.held.clear();
            return false;
        }
        true
    }

    /// What was held back.
    pub(crate) fn take(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.held)
    }
}

/// The events that end an answer at its limit.
pub(crate) fn ending(api: Api, ask: &Ask, ledger: &Ledger) -> Vec<String> {
    let mut event = serde_json::Map::new();
    for (name, value) in ledger.names.iter().flat_map(|names| &names.fields) {
        event.insert((*name).to_owned(), value.clone());
    }
    let with = |choices: Value, usage: Option<Value>| {
        let mut event = event.clone();
        event.insert("choices".into(), choices);
        event.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        Value::Object(event).to_string()
    };
    let mut choice = json!({ "index": 0, "finish_reason": "length" });
    match api {
        Api::Completions => choice["text"] = "".into(),
        _ => choice["delta"] = json!({}),
    }
    let mut events = vec![with(json!([choice]), None)];
    if ask.usage {
        let prompt = ledger.told.prompt.unwrap_or(0);
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": ledger.events,
            "total_tokens": prompt + ledger.events });
        events.push(with(json!([]), Some(usage)));
    }
    events.push("[DONE]".to_owned());
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::notes;

    const TOKEN: &str = r#"{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#;

    fn ask(text: &str) -> Ask {
        Ask::read(Api::Chat, text.as_bytes()).unwrap()
    }

    /// Feeds tokens until nothing is held back any more; how many went through, how many were
    /// held, and whether it ended by itself.
    fn run(ask: &Ask, tokens: usize) -> (u64, usize, bool) {
        let mut ledger = Ledger::default();
        let mut excess = Excess::default();
        for data in std::iter::repeat_n(TOKEN, tokens).chain([END]) {
            let notes = notes::read(Api::Chat, "", data).unwrap();
            if !excess.is_beyond(ask, &ledger, &notes) {
                ledger.apply(&notes);
            } else if !excess.hold(ask, "", data) {
                let held = excess.take().len();
                return (ledger.events, held, held > 0);
            }
        }
        (ledger.events, excess.take().len(), true)
    }

    #[test]
    fn within_the_limit_nothing_is_held() {
        assert_eq!(run(&ask(r#"{"max_tokens":16}"#), 16), (16, 0, true));
        assert_eq!(run(&ask("{}"), 4000), (4000, 0, true));
        assert_eq!(run(&ask(r#"{"max_tokens":2,"n":2}"#), 100), (100, 0, true));
    }

    #[test]
    fn a_little_beyond_it_goes_through_with_the_end_and_more_is_cut() {
        assert_eq!(run(&ask(r#"{"max_tokens":16}"#), 20), (16, 5, true));
        assert_eq!(run(&ask(r#"{"max_tokens":16}"#), 1000), (16, 0, false));
    }

    #[test]
    fn the_end_that_is_made_names_the_answer() {
        let ask = ask(r#"{"max_tokens":1,"stream_options":{"include_usage":true}}"#);
        let mut ledger = Ledger::default();
        ledger.learn_names(Api::Chat, TOKEN);
        ledger.apply(&notes::read(Api::Chat, "", TOKEN).unwrap());
        let events = ending(Api::Chat, &ask, &ledger);
        let finish: Value = serde_json::from_str(&events[0]).unwrap();
        assert_eq!((&finish["id"], &finish["model"]), (&json!("x"), &json!("m")));
        assert_eq!(finish["choices"][0]["finish_reason"], "length");
        let usage: Value = serde_json::from_str(&events[1]).unwrap();
        assert_eq!(usage["usage"]["completion_tokens"], 1);
        assert_eq!(events[2], "[DONE]");
    }
}
