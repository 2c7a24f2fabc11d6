//! From messages to the tokens the model reads.
//!
//! ```text
//! <user> Where is the keel? <end> <assistant>            a new answer
//! <user> Where is the keel? <end> <assistant> It runs    an answer to be continued
//! ```

use serde_json::Value;

use crate::error::ApiError;
use crate::token::{ASSISTANT, END, Id, SYSTEM, TOOL, Tokenizer, USER};

/// One message.
#[derive(Debug)]
pub(crate) struct Turn {
    mark: Id,
    text: String,
}

impl Turn {
    /// What the system says before all else.
    pub(crate) fn system(text: String) -> Self {
        Self { mark: SYSTEM, text }
    }

    /// What a user says.
    pub(crate) fn user(text: String) -> Self {
        Self { mark: USER, text }
    }

    /// Whether the assistant speaks.
    pub(crate) fn is_assistant(&self) -> bool {
        self.mark == ASSISTANT
    }

    /// Reads a list of `{role, content}`; `name` is the field it came from.
    pub(crate) fn read_all(value: &Value, name: &str) -> Result<Vec<Self>, ApiError> {
        let list = value.as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| ApiError::param(name, "must be a list that is not empty"))?;
        list.iter().enumerate().map(|(at, one)| Self::read(one, &format!("{name}[{at}]"))).collect()
    }

    fn read(value: &Value, name: &str) -> Result<Self, ApiError> {
        let mark = match value["role"].as_str() {
            Some("system" | "developer") => SYSTEM,
            Some("user") => USER,
            Some("assistant") => ASSISTANT,
            Some("tool" | "function") => TOOL,
            _ => return Err(ApiError::param(format!("{name}.role"), "is missing or unknown")),
        };
        // An assistant's message of tool calls alone has no content.
        let bare = mark == ASSISTANT && value["content"].is_null();
        let text = if bare {
            String::new()
        } else {
            content(&value["content"], &format!("{name}.content"))?
        };
        Ok(Self { mark, text })
    }
}

/// The text of a message's content: a string, or parts of type text.
pub(crate) fn content(value: &Value, name: &str) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| text_of(part, name)).collect(),
        _ => Err(ApiError::param(name, "must be a string or a list of parts")),
    }
}

fn text_of<'a>(part: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => part["text"]
            .as_str()
            .ok_or_else(|| ApiError::param(name, "holds a text part without its text")),
        // What a tool gave back may be anything; this model does not read it.
        Some("tool_use" | "tool_result" | "thinking") => Ok(""),
        _ => Err(ApiError::param(name, "may hold parts of type text only")),
    }
}

/// How the prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A new answer is opened.
    Answer,
    /// The last message goes on.
    Continue,
    /// All messages are closed and none is opened.
    Closed,
}

/// The tokens of a conversation.
pub(crate) fn render(tokenizer: &Tokenizer, turns: &[Turn], ending: Ending) -> Vec<Id> {
    let mut out = Vec::with_capacity(turns.iter().map(|turn| turn.text.len() / 3 + 8).sum());
    for turn in turns {
        out.push(turn.mark);
        tokenizer.encode_into(&turn.text, &mut out);
        out.push(END);
    }
    match ending {
        Ending::Answer => out.push(ASSISTANT),
        Ending::Continue => _ = out.pop(),
        Ending::Closed => {}
    }
    out
}
