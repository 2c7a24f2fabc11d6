//! Chunks of `/v1/chat/completions` and `/v1/completions`.

use super::{Channel, Kind, Malformed, Notes, Text, error_of};
use crate::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_token_ids: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    token_ids: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_token_ids: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
}

pub(super) fn read(data: &str) -> Result<Notes<'_>, Malformed> {
    let chunk: Chunk<'_> = serde_json::from_str(data).map_err(|e| Malformed(e.to_string()))?;
    let mut notes = Notes::default();
    if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
        notes.error = Some(error_of(error.get()));
        return Ok(notes);
    }
    let Some(choices) = chunk.choices else {
        return Err(Malformed("an event without `choices`".into()));
    };
    ids(&mut notes.prompt_ids, &mut notes.extra, data, chunk.prompt_token_ids)?;
    for choice in choices {
        choice_into(&mut notes, data, choice)?;
    }
    // Some servers tell usage with every chunk; only the last one is the answer's.
    let ends = notes.texts.is_empty();
    if let Some(usage) = chunk.usage.filter(|u| ends && u.get() != "null") {
        notes.usage = true;
        notes.told = Usage::read(usage.get());
    }
    Ok(notes)
}

fn choice_into<'a>(notes: &mut Notes<'a>, data: &str, choice: Choice<'a>) -> Result<(), Malformed> {
    let a = choice.index;
    let mut add = |kind, b, text: Option<Text<'a>>| {
        if let Some(Text(text)) = text
            && !text.is_empty()
        {
            notes.texts.push((Channel { kind, a, b }, text));
        }
    };
    add(Kind::Content, 0, choice.text);
    if let Some(delta) = choice.delta {
        add(Kind::Content, 0, delta.content);
        // Two names for one thing; a server that sends both sends the same twice.
        add(Kind::Reasoning, 0, delta.reasoning_content);
        add(Kind::Reasoning, 1, delta.reasoning);
        add(Kind::Refusal, 0, delta.refusal);
        for call in delta.tool_calls.into_iter().flatten() {
            if let Some(function) = call.function {
                add(Kind::ToolName, call.index, function.name);
                add(Kind::ToolArguments, call.index, function.arguments);
            }
        }
    }
    if choice.finish_reason.is_some_and(|r| !r.0.is_empty()) {
        notes.finished.push(a);
    }
    ids(&mut notes.prompt_ids, &mut notes.extra, data, choice.prompt_token_ids)?;
    ids(&mut notes.ids, &mut notes.extra, data, choice.token_ids)?;
    notes.ids_at = choice.token_ids.map(|raw| place(data, raw));
    Ok(())
}

fn place(data: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr() as usize - data.as_ptr() as usize;
    start..start + raw.get().len()
}

/// Reads token ids and notes where their field stands, its name and one comma included.
fn ids<T: serde::de::DeserializeOwned>(
    into: &mut Option<T>,
    extra: &mut smallvec::SmallVec<[Range<usize>; 2]>,
    data: &str,
    raw: Option<&RawValue>,
) -> Result<(), Malformed> {
    let Some(raw) = raw else { return Ok(()) };
    if let Some(field) = field_around(data, place(data, raw)) {
        extra.push(field);
    }
    *into = Some(serde_json::from_str(raw.get()).map_err(|e| Malformed(e.to_string()))?);
    Ok(())
}

/// The whole field whose value stands at `value`: name, colon, and one of its commas.
fn field_around(data: &str, value: Range<usize>) -> Option<Range<usize>> {
    let before = data[..value.start].trim_end().strip_suffix(':')?.trim_end();
    let open = before.strip_suffix('"')?.rfind('"')?;
    let head = data[..open].trim_end();
    if let Some(head) = head.strip_suffix(',') {
        return Some(head.len()..value.end);
    }
    let tail = data[value.end..].trim_start();
    let comma = data.len() - tail.len();
    Some(if tail.starts_with(',') { open..comma + 1 } else { open..value.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_taken_apart() {
        let notes = read(
            r#"{"id":"x","choices":[{"index":1,"delta":{"role":"assistant","content":"a\nb",
               "tool_calls":[{"index":2,"id":"c","function":{"name":"f","arguments":"{"}}]},
               "finish_reason":"stop"}],"usage":null}"#,
        )
        .unwrap();
        let kinds: Vec<_> = notes.texts.iter().map(|(c, t)| (c.kind, c.a, c.b, &**t)).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Content, 1, 0, "a\nb"),
                (Kind::ToolName, 1, 2, "f"),
                (Kind::ToolArguments, 1, 2, "{")
            ]
        );
        assert_eq!((&notes.finished[..], notes.usage), (&[1][..], false));
        assert!(notes.is_progress());
    }

    #[test]
    fn what_brings_nothing_is_no_progress() {
        for data in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":1}}"#,
            r#"{"choices":[{"text":"","finish_reason":null}]}"#,
        ] {
            assert!(!read(data).unwrap().is_progress(), "{data}");
        }
    }

    #[test]
    fn errors_and_garbage() {
        use super::super::ErrorEvent::{Client, Replica};
        let error = |data| read(data).unwrap().error;
        assert_eq!(error(r#"{"error":{"message":"x","type":"server_error"}}"#), Some(Replica));
        assert_eq!(error(r#"{"error":{"code":400}}"#), Some(Client));
        assert_eq!(error(r#"{"error":"dead"}"#), Some(Replica));
        assert!(read("{}").is_err());
        assert!(read(r#"{"choices":[{"text":3}]}"#).is_err());
        assert!(read(r#"{"choices":[{"text":"a"}"#).is_err());
    }

    #[test]
    fn ids_are_cut_out() {
        for (data, cut) in [
            (r#"{"choices":[{"text":"a","token_ids":[1,2]}]}"#, r#"{"choices":[{"text":"a"}]}"#),
            (r#"{"choices":[{"token_ids":[1,2], "text":"a"}]}"#, r#"{"choices":[{ "text":"a"}]}"#),
            (
                r#"{"prompt_token_ids" : [7],"choices":[{"token_ids":[1,2]}]}"#,
                r#"{"choices":[{}]}"#,
            ),
        ] {
            let notes = read(data).unwrap();
            assert_eq!(notes.ids.as_deref(), Some(&[1, 2][..]));
            let mut left = data.to_owned();
            let mut extra = notes.extra.clone();
            extra.sort_by_key(|r| std::cmp::Reverse(r.start));
            for range in extra {
                left.replace_range(range, "");
            }
            assert_eq!(left, cut);
        }
    }
}
