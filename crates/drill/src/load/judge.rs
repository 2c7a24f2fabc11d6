//! Whether an answer is whole and well formed. Pure: bytes in, verdict out.

use crate::load::{Api, Flaw, Outcome};
use evenkeel_wire::sse::{Event, Reader};
use serde::Deserialize;
use std::borrow::Cow;

/// The longest event of a stream that is read.
const EVENT_LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default, borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    delta: Option<Message<'a>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a serde_json::value::RawValue>,
}

impl Message<'_> {
    /// Adds what it says to `text`; whether it says anything.
    fn add_to(&self, text: &mut String) -> bool {
        let before = text.len();
        text.push_str(self.reasoning_content.as_deref().unwrap_or_default());
        text.push_str(self.content.as_deref().unwrap_or_default());
        if let Some(calls) = self.tool_calls {
            let raw = calls.get();
            if raw != "null" && raw != "[]" {
                text.push_str(raw);
            }
        }
        text.len() > before
    }
}

/// Judges the body of a unary answer with a good status; its text is added to `text`.
///
/// # Errors
/// With what is the matter.
pub fn unary(api: Api, body: &[u8], text: &mut String) -> Result<(), Flaw> {
    if api == Api::Plain {
        return Ok(());
    }
    let body: Body<'_> = serde_json::from_slice(body).map_err(|e| {
        let why = format!("answer is not JSON: {e}");
        if e.is_eof() { Flaw::truncated(why) } else { Flaw::wrong(why) }
    })?;
    let choice = body.choices.first().ok_or_else(|| Flaw::wrong("answer has no choices"))?;
    let spoke = match (api, &choice.message, &choice.text) {
        (Api::Chat, Some(message), _) => message.add_to(text),
        (Api::Completions, _, Some(said)) => {
            text.push_str(said);
            !said.is_empty()
        }
        _ => false,
    };
    if !spoke {
        return Err(Flaw::wrong("answer has no content"));
    }
    match choice.finish_reason {
        Some(_) => Ok(()),
        None => Err(Flaw::wrong("answer has no finish_reason")),
    }
}

/// Judges a streamed answer as it comes in.
#[derive(Debug)]
pub struct StreamJudge {
    reader: Reader,
    seen: Seen,
}

#[derive(Debug)]
struct Seen {
    api: Api,
    text: String,
    roles: u64,
    deltas: u64,
    contents: u64,
    finished: bool,
    done: bool,
    flaw: Option<Flaw>,
}

impl StreamJudge {
    /// For a stream of this API.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let seen = Seen {
            api,
            text: String::new(),
            roles: 0,
            deltas: 0,
            contents: 0,
            finished: false,
            done: false,
            flaw: None,
        };
        Self { reader: Reader::new(EVENT_LIMIT), seen }
    }

    /// Takes a piece of the stream; how many events with content it completed.
    ///
    /// # Errors
    /// With the first flaw found. The stream need not be read further.
    pub fn feed(&mut self, piece: &[u8]) -> Result<u64, Flaw> {
        let before = self.seen.contents;
        let seen = &mut self.seen;
        self.reader
            .feed(piece, |event| {
                if seen.flaw.is_none() {
                    seen.flaw = seen.take(&event).err();
                }
            })
            .map_err(|e| Flaw::wrong(e.to_string()))?;
        match self.seen.flaw.clone() {
            Some(flaw) => Err(flaw),
            None => Ok(self.seen.contents - before),
        }
    }

    /// Judges the whole, after the stream's end.
    ///
    /// # Errors
    /// With what is missing.
    pub fn end(&self) -> Result<(), Flaw> {
        let seen = &self.seen;
        if self.reader.is_inside_event() {
            return Err(Flaw::truncated("stream ended inside an event"));
        }
        if !seen.finished {
            let count = seen.contents;
            return Err(Flaw::truncated(format!(
                "stream ended after {count} content events without a finish_reason"
            )));
        }
        if !seen.done {
            return Err(Flaw::truncated("stream ended without [DONE]"));
        }
        if seen.contents == 0 {
            return Err(Flaw::wrong("stream had no content"));
        }
        seen.role()
    }

    /// Whether `[DONE]` was seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.seen.done
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.seen.text
    }

    /// How many events with content so far.
    #[must_use]
    pub fn contents(&self) -> u64 {
        self.seen.contents
    }
}

impl Seen {
    fn take(&mut self, event: &Event) -> Result<(), Flaw> {
        if self.done {
            return Err(Flaw::wrong(format!("event after [DONE]: {}", cut(&event.data))));
        }
        if event.data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let body: Body<'_> = serde_json::from_str(&event.data)
            .map_err(|e| Flaw::wrong(format!("event is not JSON: {e}: {}", cut(&event.data))))?;
        if event.kind == "error" || body.error.is_some_and(|e| e.get() != "null") {
            return Err(Flaw::new(Outcome::ErrorEvent, cut(&event.data)));
        }
        body.choices.iter().try_for_each(|choice| self.choice(choice))
    }

    fn choice(&mut self, choice: &Choice<'_>) -> Result<(), Flaw> {
        let role = choice.delta.as_ref().is_some_and(|d| d.role.is_some());
        let spoke = match (self.api, &choice.delta, &choice.text) {
            (Api::Chat, Some(delta), _) => delta.add_to(&mut self.text),
            (Api::Completions, _, Some(said)) => {
                self.text.push_str(said);
                !said.is_empty()
            }
            _ => false,
        };
        if self.finished && spoke {
            return Err(Flaw::wrong("content after the finish_reason"));
        }
        if self.finished && choice.finish_reason.is_some() {
            return Err(Flaw::wrong("a second finish_reason"));
        }
        self.roles += u64::from(role);
        self.deltas += u64::from(role || spoke);
        self.contents += u64::from(spoke);
        self.finished |= choice.finish_reason.is_some();
        Ok(())
    }

    /// One role, or, as some servers have it, one in every delta.
    fn role(&self) -> Result<(), Flaw> {
        match (self.api, self.roles) {
            (Api::Chat, 0) => Err(Flaw::wrong("stream had no role")),
            (Api::Chat, n) if n > 1 && n < self.deltas => {
                Err(Flaw::wrong(format!("stream had {n} roles")))
            }
            _ => Ok(()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"data: {"choices":[{"delta":{"role":"assistant"}}]}"#;
    const WORD: &str = r#"data: {"choices":[{"delta":{"content":"a "}}]}"#;
    const STOP: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"data: {"choices":[],"usage":{},"error":null}"#;
    const ERROR: &str = r#"data: {"error":{"message":"lost"}}"#;
    const BOTH: &str = r#"data: {"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#;
    const DONE: &str = "data: [DONE]";

    fn stream(events: &[&str]) -> Result<String, Outcome> {
        let mut judge = StreamJudge::new(Api::Chat);
        for event in events {
            judge.feed(format!("{event}\n\n").as_bytes()).map_err(|f| f.outcome)?;
        }
        judge.end().map_err(|f| f.outcome)?;
        Ok(judge.text().to_owned())
    }

    #[test]
    fn whole_streams_pass() {
        assert_eq!(stream(&[ROLE, WORD, WORD, STOP, USAGE, DONE]).unwrap(), "a a ");
        assert_eq!(stream(&[BOTH, BOTH, STOP, DONE]).unwrap(), "aa");
    }

    #[test]
    fn flawed_streams_are_found() {
        let table: [(&[&str], Outcome); 10] = [
            (&[], Outcome::Truncated),
            (&[ROLE, WORD], Outcome::Truncated),
            (&[ROLE, WORD, STOP], Outcome::Truncated),
            (&[ROLE, STOP, DONE], Outcome::Wrong),
            (&[WORD, STOP, DONE], Outcome::Wrong),
            (&[ROLE, WORD, ROLE, WORD, STOP, DONE], Outcome::Wrong),
            (&[ROLE, WORD, STOP, WORD, DONE], Outcome::Wrong),
            (&[ROLE, WORD, STOP, DONE, DONE], Outcome::Wrong),
            (&[ROLE, WORD, ERROR], Outcome::ErrorEvent),
            (&[ROLE, "data: {\"cho"], Outcome::Wrong),
        ];
        for (events, outcome) in table {
            assert_eq!(stream(events), Err(outcome), "{events:?}");
        }
    }

    #[test]
    fn unary_answers() {
        let table = [
            (r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#, None),
            (r#"{"choices":[{"message":{"content":"a"}}]}"#, Some(Outcome::Wrong)),
            (
                r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#,
                Some(Outcome::Wrong),
            ),
            (r#"{"choices":[]}"#, Some(Outcome::Wrong)),
            (r#"{"choices":[{"mess"#, Some(Outcome::Truncated)),
            ("", Some(Outcome::Truncated)),
            ("<html>", Some(Outcome::Wrong)),
        ];
        for (body, flaw) in table {
            let got = unary(Api::Chat, body.as_bytes(), &mut String::new());
            assert_eq!(got.err().map(|f| f.outcome), flaw, "{body}");
        }
        let body = br#"{"choices":[{"text":"a","finish_reason":"length"}]}"#;
        let mut text = String::new();
        unary(Api::Completions, body, &mut text).unwrap();
        assert_eq!(text, "a");
    }
}
