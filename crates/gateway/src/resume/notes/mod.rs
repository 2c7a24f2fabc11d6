//! What one event says, read without building a tree: the ordinary path of every token.

mod choices;
mod pattern;
mod typed;
pub(crate) use pattern::Pattern;
pub(crate) use typed::channel;

use super::Api;
use crate::usage::Usage;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// One string of an answer that grows by deltas, or one event that comes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Channel {
    pub(crate) kind: Kind,
    /// Choice, block or output item.
    pub(crate) a: u32,
    /// Tool call or part within it.
    pub(crate) b: u32,
}

/// What a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Content,
    Reasoning,
    Refusal,
    ToolName,
    ToolArguments,
    /// Of a typed API: the hash of the event's type.
    Typed(u64),
}

impl Channel {
    pub(crate) fn content(choice: u32) -> Self {
        Self { kind: Kind::Content, a: choice, b: 0 }
    }

    /// Whether this is the plain text of a single answer.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == Kind::Content && self.a == 0 && self.b == 0
    }
}

/// Whose fault an error event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorEvent {
    /// The request's: another replica would say the same.
    Client,
    /// The replica's.
    Replica,
}

/// One event, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Notes<'a> {
    pub(crate) texts: SmallVec<[(Channel, Cow<'a, str>); 2]>,
    /// Events that come once: the beginning and end of items and parts.
    pub(crate) mark: Option<Channel>,
    /// Choices that got their finish reason.
    pub(crate) finished: SmallVec<[u32; 1]>,
    /// Token ids of the prompt and of this event's text.
    pub(crate) prompt_ids: Option<Vec<u32>>,
    pub(crate) ids: Option<SmallVec<[u32; 4]>>,
    /// Where the list of the latter stands.
    pub(crate) ids_at: Option<Range<usize>>,
    pub(crate) usage: bool,
    /// The tokens that the event tells of.
    pub(crate) told: Usage,
    /// The last event of the stream.
    pub(crate) last: bool,
    pub(crate) sequence: Option<u64>,
    pub(crate) error: Option<ErrorEvent>,
    /// Where token ids stand that only the gateway asked for.
    pub(crate) extra: SmallVec<[Range<usize>; 2]>,
}

/// An event that is not what this API sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

impl Notes<'_> {
    /// Whether the answer got longer or ended: all else is no progress.
    pub(crate) fn is_progress(&self) -> bool {
        !self.finished.is_empty() || self.texts.iter().any(|(_, text)| !text.is_empty())
    }
}

/// Reads an event's data, which is not `[DONE]`.
pub(crate) fn read<'a>(api: Api, kind: &str, data: &'a str) -> Result<Notes<'a>, Malformed> {
    if api.has_choices() { choices::read(data) } else { typed::read(api, kind, data) }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether an error object speaks of the request rather than of the server.
fn error_of(raw: &str) -> ErrorEvent {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Fields<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        #[serde(borrow)]
        code: Option<&'a serde_json::value::RawValue>,
    }
    let fields: Fields<'_> = serde_json::from_str(raw).unwrap_or_default();
    let by_kind = fields.kind.is_some_and(|k| {
        matches!(
            &*k.0,
            "invalid_request_error" | "BadRequestError" | "content_filter" | "permission_error"
        )
    });
    let by_code = fields.code.and_then(|c| c.get().trim_matches('"').parse().ok());
    let by_code = by_code.is_some_and(|code: u16| (400..500).contains(&code) && code != 429);
    if by_kind || by_code { ErrorEvent::Client } else { ErrorEvent::Replica }
}
