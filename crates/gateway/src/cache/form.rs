//! A kept answer, and the forms it can be given in. Pure.

use crate::render::{self, Wanted};
use crate::resume::events::Blocks;
use crate::resume::unary;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use std::time::Instant;

/// A kept answer.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) form: Form,
    /// Its media type as the replica gave it.
    pub(crate) kind: Option<HeaderValue>,
    pub(crate) born: Instant,
}

/// How it is kept.
#[derive(Debug)]
pub(crate) enum Form {
    /// Given as it came; another form has another key.
    Verbatim(Bytes),
    /// A whole chat or text completion.
    Whole(Bytes),
    /// The same as events; with usage at the end or without.
    Events(Bytes, bool),
}

impl Kept {
    /// What came for a question.
    pub(crate) fn new(
        bytes: Bytes,
        kind: Option<HeaderValue>,
        wanted: Option<Wanted>,
        stream: bool,
        born: Instant,
    ) -> Self {
        let form = match wanted {
            None => Form::Verbatim(bytes),
            Some(wanted) if stream => Form::Events(bytes, wanted.usage),
            Some(_) => Form::Whole(bytes),
        };
        Self { form, kind, born }
    }

    pub(crate) fn size(&self) -> usize {
        match &self.form {
            Form::Verbatim(bytes) | Form::Whole(bytes) | Form::Events(bytes, _) => bytes.len(),
        }
    }

    /// In the form that is wanted, with its media type; `None` when it cannot be made: no
    /// usage is known.
    pub(crate) fn give(
        &self,
        wanted: Option<Wanted>,
        stream: bool,
    ) -> Option<(HeaderValue, Bytes)> {
        let json = HeaderValue::from_static("application/json");
        let events = HeaderValue::from_static("text/event-stream");
        match (&self.form, wanted) {
            (Form::Verbatim(bytes), _) => Some((self.kind.clone().unwrap_or(json), bytes.clone())),
            (Form::Whole(bytes), _) if !stream => Some((json, bytes.clone())),
            (Form::Whole(bytes), wanted) => Some((events, render::events(wanted?, bytes)?)),
            (Form::Events(bytes, usage), Some(wanted)) if stream => match (usage, wanted.usage) {
                (false, true) => None,
                (true, false) => Some((events, without_usage(bytes))),
                _ => Some((events, bytes.clone())),
            },
            (Form::Events(bytes, true), _) => {
                Some((json, unary::from_events(bytes)?.to_string().into()))
            }
            (Form::Events(..), _) => None,
        }
    }
}

/// The events but the one that tells usage alone.
fn without_usage(events: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(events.len());
    for block in Blocks::new(events).flatten() {
        let value: Option<Value> = block.data.as_ref().and_then(|d| serde_json::from_str(d).ok());
        let usage_alone = value.is_some_and(|v| {
            v["usage"].is_object() && v["choices"].as_array().is_some_and(Vec::is_empty)
        });
        if !usage_alone {
            out.extend_from_slice(&events[block.at]);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::Api;
    use evenkeel_domain::clock;
    use serde_json::json;

    fn wanted(usage: bool) -> Option<Wanted> {
        Some(Wanted { api: Api::Chat, usage })
    }

    fn whole() -> Value {
        json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"total_tokens": 3}})
    }

    #[test]
    fn an_answer_is_given_in_each_form_it_has() {
        let now = clock::now();
        let kept = |bytes: Bytes, usage, stream| Kept::new(bytes, None, wanted(usage), stream, now);
        let json = Bytes::from(whole().to_string());
        let from_whole = kept(json.clone(), false, false);
        assert_eq!(from_whole.give(wanted(false), false).unwrap().1, json);
        let (kind, events) = from_whole.give(wanted(true), true).unwrap();
        assert_eq!(kind, "text/event-stream");
        // Events with usage give every form; without it only their own.
        let with = kept(events.clone(), true, true);
        let back: Value =
            serde_json::from_slice(&with.give(wanted(false), false).unwrap().1).unwrap();
        assert_eq!(back, whole());
        assert_eq!(with.give(wanted(true), true).unwrap().1, events);
        let bare = with.give(wanted(false), true).unwrap().1;
        assert_eq!(bare, from_whole.give(wanted(false), true).unwrap().1);
        let without = kept(bare.clone(), false, true);
        assert_eq!(without.give(wanted(false), true).unwrap().1, bare);
        assert!(without.give(wanted(true), true).is_none());
        assert!(without.give(wanted(false), false).is_none());
    }
}
