//! Events of `/v1/messages` and `/v1/responses`: each names its type.

use super::{Channel, ErrorEvent, Kind, Malformed, Notes, Text, error_of};
use crate::resume::Api;
use crate::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    output_index: Option<u32>,
    #[serde(default)]
    content_index: Option<u32>,
    #[serde(default)]
    summary_index: Option<u32>,
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    /// What `message_start` brings.
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    /// What `response.completed` brings.
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

/// Tokens that an object tells of under `usage`.
fn told(raw: Option<&RawValue>) -> Usage {
    raw.and_then(|raw| Usage::of_json(raw.get().as_bytes())).unwrap_or_default()
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
}

/// Where an event belongs: its type, and what it is about.
pub(crate) fn channel(kind: &str, a: Option<u32>, b: Option<u32>) -> Channel {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    Channel { kind: Kind::Typed(hasher.finish()), a: a.unwrap_or(0), b: b.unwrap_or(0) }
}

pub(super) fn read<'a>(api: Api, name: &str, data: &'a str) -> Result<Notes<'a>, Malformed> {
    let event: Event<'a> = serde_json::from_str(data).map_err(|e| Malformed(e.to_string()))?;
    let kind = match &event.kind {
        Some(kind) => &*kind.0,
        None => name,
    };
    let mut notes = Notes { sequence: event.sequence_number, ..Notes::default() };
    if kind == "error" || (kind.is_empty() && event.error.is_some()) {
        notes.error = Some(event.error.map_or(ErrorEvent::Replica, |e| error_of(e.get())));
        return Ok(notes);
    }
    if kind.is_empty() {
        return Err(Malformed("an event without a type".into()));
    }
    match api {
        Api::Messages => message(&mut notes, kind, &event)?,
        _ => response(&mut notes, kind, &event)?,
    }
    Ok(notes)
}

fn bad(error: serde_json::Error) -> Malformed {
    Malformed(error.to_string())
}

fn message<'a>(notes: &mut Notes<'a>, kind: &str, event: &Event<'a>) -> Result<(), Malformed> {
    match (kind, event.delta) {
        ("content_block_delta", Some(raw)) => {
            let delta: BlockDelta<'a> = serde_json::from_str(raw.get()).map_err(bad)?;
            let a = event.index.unwrap_or(0);
            let slots = [
                (Kind::Content, delta.text),
                (Kind::ToolArguments, delta.partial_json),
                (Kind::Reasoning, delta.thinking),
            ];
            for (kind, text) in slots {
                if let Some(Text(text)) = text.filter(|t| !t.0.is_empty()) {
                    notes.texts.push((Channel { kind, a, b: 0 }, text));
                }
            }
        }
        ("message_delta", Some(raw)) => {
            let delta: BlockDelta<'a> = serde_json::from_str(raw.get()).map_err(bad)?;
            if delta.stop_reason.is_some() {
                notes.finished.push(0);
                notes.usage = true;
            }
            notes.told = event.usage.map(|raw| Usage::read(raw.get())).unwrap_or_default();
        }
        ("message_stop", _) => notes.last = true,
        ("ping", _) => {}
        ("message_start", _) => {
            notes.told = told(event.message);
            notes.mark = Some(channel(kind, event.index, None));
        }
        _ => notes.mark = Some(channel(kind, event.index, None)),
    }
    Ok(())
}

fn response<'a>(notes: &mut Notes<'a>, kind: &str, event: &Event<'a>) -> Result<(), Malformed> {
    let part = event.content_index.or(event.summary_index);
    match (kind, event.delta) {
        (kind, Some(raw)) if kind.ends_with(".delta") => {
            let Text(text) = serde_json::from_str(raw.get()).map_err(bad)?;
            notes.texts.push((channel(kind, event.output_index, part), text));
        }
        ("response.completed" | "response.incomplete", _) => {
            notes.finished.push(0);
            notes.usage = true;
            notes.told = told(event.response);
            notes.last = true;
        }
        ("response.failed", _) => notes.error = Some(ErrorEvent::Replica),
        _ => notes.mark = Some(channel(kind, event.output_index, part)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(data: &str) -> Notes<'_> {
        read(Api::Messages, "", data).unwrap()
    }

    #[test]
    fn messages_events() {
        let delta = messages(
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"hi"}}"#,
        );
        assert_eq!(delta.texts[0], (Channel { kind: Kind::Content, a: 1, b: 0 }, "hi".into()));
        let end = messages(
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
        );
        assert!(end.finished[..] == [0] && !end.last);
        assert_eq!((end.told.prompt, end.told.completion), (None, Some(3)));
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":9}}}"#;
        assert_eq!(messages(start).told.prompt, Some(9));
        assert!(messages(r#"{"type":"message_stop"}"#).last);
        let (ping, start) = (r#"{"type":"ping"}"#, r#"{"type":"message_start","message":{}}"#);
        assert!(!messages(ping).is_progress() && messages(ping).mark.is_none());
        assert!(messages(start).mark.is_some());
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error"}}"#;
        assert_eq!(messages(overloaded).error, Some(ErrorEvent::Replica));
    }

    #[test]
    fn responses_events() {
        let read = |data| read(Api::Responses, "", data).unwrap();
        let delta = read(
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":"x","sequence_number":7}"#,
        );
        assert_eq!((&*delta.texts[0].1, delta.texts[0].0.b, delta.sequence), ("x", 1, Some(7)));
        let end = read(
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":2,"output_tokens":5}}}"#,
        );
        assert!(end.last && end.finished[..] == [0]);
        assert_eq!((end.told.prompt, end.told.completion), (Some(2), Some(5)));
        let begun = read(r#"{"type":"response.created","response":{}}"#);
        assert!(
            begun.mark.is_some() && begun.mark != read(r#"{"type":"response.in_progress"}"#).mark
        );
    }

    #[test]
    fn an_event_without_a_type_takes_its_name() {
        assert!(super::read(Api::Messages, "message_stop", "{}").unwrap().last);
        assert!(super::read(Api::Messages, "", "{}").is_err());
        assert!(super::read(Api::Messages, "", "[1]").is_err());
    }
}
