//! What routing must know of a request's JSON body, read without building a tree.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The top-level fields that matter, as raw JSON borrowed from the body.
#[derive(Debug, Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
}

/// The request's body as routing sees it.
#[derive(Debug, Default)]
pub(crate) struct BodyHead<'a> {
    /// The model's name and where its JSON string stands in the body.
    pub(crate) model: Option<(Cow<'a, str>, std::ops::Range<usize>)>,
    /// Whether the call keeps state on the replica, and so may not be made twice.
    pub(crate) stateful: bool,
    /// Whether a stream is asked for.
    pub(crate) stream: bool,
    /// The end user's name.
    pub(crate) user: Option<&'a str>,
    /// The prompt, raw.
    pub(crate) prompt: Option<&'a str>,
    /// A field that no server could make sense of, and what it should be.
    pub(crate) senseless: Option<(&'static str, &'static str)>,
    /// The limit of the answer's tokens.
    pub(crate) max_tokens: Option<u64>,
}

/// Why a body cannot be routed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadBody {
    /// Not JSON, or a field stands twice.
    Syntax(String),
    /// `model` is no string.
    ModelType,
}

/// Reads the head of a whole JSON body.
pub(crate) fn read(body: &[u8]) -> Result<BodyHead<'_>, BadBody> {
    let fields: Fields<'_> =
        serde_json::from_slice(body).map_err(|e| BadBody::Syntax(e.to_string()))?;
    let model = match fields.model.filter(|raw| raw.get() != "null") {
        None => None,
        Some(raw) => {
            let name: Cow<'_, str> = string(raw).ok_or(BadBody::ModelType)?;
            let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
            Some((name, start..start + raw.get().len()))
        }
    };
    let is = |raw: Option<&RawValue>, text: &str| raw.is_some_and(|r| r.get() == text);
    let limits = [fields.max_completion_tokens, fields.max_tokens, fields.max_output_tokens];
    let has_previous = fields.previous_response_id.is_some_and(|r| r.get() != "null");
    Ok(BodyHead {
        model,
        stateful: is(fields.store, "true") || has_previous,
        senseless: senseless(&fields),
        stream: is(fields.stream, "true"),
        user: fields.user.map(RawValue::get),
        prompt: fields.messages.or(fields.prompt).or(fields.input).map(RawValue::get),
        max_tokens: limits.into_iter().flatten().find_map(|raw| raw.get().parse().ok()),
    })
}

/// The first field that cannot mean anything. Only what every server would refuse: -1, for
/// one, stands for "no limit" with some.
fn senseless(fields: &Fields<'_>) -> Option<(&'static str, &'static str)> {
    let bad = |raw: Option<&RawValue>, least: i64| {
        raw.is_some_and(|r| r.get().parse::<i64>().map_or(r.get() != "null", |n| n < least))
    };
    let not = |raw: Option<&RawValue>, starts: &[u8]| {
        raw.is_some_and(|r| !r.get().as_bytes().first().is_some_and(|b| starts.contains(b)))
    };
    if bad(fields.max_tokens, -1) {
        Some(("max_tokens", "a whole number, 1 or more"))
    } else if bad(fields.max_completion_tokens, -1) {
        Some(("max_completion_tokens", "a whole number, 1 or more"))
    } else if bad(fields.n, 1) {
        Some(("n", "a whole number, 1 or more"))
    } else if not(fields.stream, b"tfn") {
        Some(("stream", "true or false"))
    } else if not(fields.messages, b"[") {
        Some(("messages", "a list"))
    } else {
        None
    }
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// The model's name from the beginning of a body that is too large to hold: the first
/// top-level `model` that is whole.
pub(crate) fn model_in_prefix(prefix: &[u8]) -> Option<String> {
    use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

    struct Seek<'o>(&'o mut Option<String>);
    impl<'de> Visitor<'de> for Seek<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                if key == "model" {
                    *self.0 = Some(map.next_value()?);
                    return Ok(());
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }
    let mut found = None;
    // The prefix ends in the middle of something: the error is expected, what was found
    // before it counts.
    let _ = serde_json::Deserializer::from_slice(prefix).deserialize_map(Seek(&mut found));
    found
}

/// The `model` field of a multipart form (audio and image endpoints).
pub(crate) fn model_in_multipart(body: &[u8]) -> Option<&str> {
    let name = memchr::memmem::find(body, b"name=\"model\"")?;
    let after = &body[name..];
    let start = memchr::memmem::find(after, b"\r\n\r\n")? + 4;
    let end = memchr::memmem::find(&after[start..], b"\r\n")?;
    std::str::from_utf8(&after[start..start + end]).ok()
}

/// The body with the model's name replaced.
pub(crate) fn with_model(body: &[u8], at: std::ops::Range<usize>, name: &str) -> Vec<u8> {
    let name = serde_json::Value::from(name).to_string();
    let mut out = Vec::with_capacity(body.len() + name.len());
    out.extend_from_slice(&body[..at.start]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&body[at.end..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fields_are_found_wherever_they_stand() {
        let body = br#"{"messages":[{"model":"x"}],"stream":true,"model":"a\u0062","store":true}"#;
        let head = read(body).unwrap();
        let (name, at) = head.model.unwrap();
        assert_eq!((&*name, &body[at.clone()]), ("ab", br#""a\u0062""#.as_slice()));
        assert!(head.stateful);
        assert_eq!(head.prompt, Some(r#"[{"model":"x"}]"#));
        let renamed = with_model(body, at, "n\"w");
        assert_eq!(read(&renamed).unwrap().model.unwrap().0, "n\"w");
    }

    #[test]
    fn what_cannot_be_routed_says_why() {
        assert!(matches!(read(b"{"), Err(BadBody::Syntax(_))));
        assert!(matches!(read(b"[]"), Err(BadBody::Syntax(_))));
        assert!(matches!(read(br#"{"model":"a","model":"b"}"#), Err(BadBody::Syntax(_))));
        assert_eq!(read(br#"{"model":3}"#).unwrap_err(), BadBody::ModelType);
        assert!(read(br#"{"model":null}"#).unwrap().model.is_none());
        assert!(matches!(read(b"\xff"), Err(BadBody::Syntax(_))));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let named = |text: &str| read(text.as_bytes()).unwrap().senseless.map(|(name, _)| name);
        for (text, name) in [
            (r#"{"max_tokens":-2}"#, Some("max_tokens")),
            (r#"{"max_tokens":1.5}"#, Some("max_tokens")),
            (r#"{"max_completion_tokens":"9"}"#, Some("max_completion_tokens")),
            (r#"{"n":0}"#, Some("n")),
            (r#"{"stream":1}"#, Some("stream")),
            (r#"{"messages":{}}"#, Some("messages")),
            (r#"{"max_tokens":-1,"n":null,"stream":null,"messages":[]}"#, None),
            (r#"{"max_tokens":7,"n":2,"stream":false}"#, None),
        ] {
            assert_eq!(named(text), name, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(matches!(read(deep.as_bytes()), Err(BadBody::Syntax(_))));
        assert_eq!(model_in_prefix(deep.as_bytes()), None);
    }

    #[test]
    fn a_cut_body_still_names_its_model() {
        let prefix = br#"{"n":1,"model":"m","messages":[{"role":"us"#;
        assert_eq!(model_in_prefix(prefix).as_deref(), Some("m"));
        assert_eq!(model_in_prefix(br#"{"model":"m"#), None);
    }

    #[test]
    fn a_form_names_its_model() {
        let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b--";
        assert_eq!(model_in_multipart(form), Some("whisper"));
        assert_eq!(model_in_multipart(b"name=\"model\""), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = model_in_prefix(&bytes);
            let _ = model_in_multipart(&bytes);
        }

        #[test]
        fn any_name_survives_a_rewrite(name in ".*", new in ".*") {
            let body = serde_json::json!({"a": 1, "model": name, "z": [2]}).to_string();
            let head = read(body.as_bytes()).unwrap();
            let (found, at) = head.model.unwrap();
            prop_assert_eq!(&*found, &*name);
            let renamed = with_model(body.as_bytes(), at, &new);
            let again: serde_json::Value = serde_json::from_slice(&renamed).unwrap();
            prop_assert_eq!(again, serde_json::json!({"a": 1, "model": new, "z": [2]}));
        }
    }
}
