//! Writing JSON and server-sent events into a buffer, without a tree of values: a
//! stream writes hundreds of events that differ in one word.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use crate::token::Id;

/// Appends text as it is.
pub(crate) fn raw(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
}

/// Appends a JSON string.
pub(crate) fn string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        raw(out, &text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => raw(out, "\\\""),
            b'\\' => raw(out, "\\\\"),
            b'\n' => raw(out, "\\n"),
            b'\t' => raw(out, "\\t"),
            b'\r' => raw(out, "\\r"),
            // A BytesMut takes all that is written to it.
            _ => _ = write!(out, "\\u{byte:04x}"),
        }
    }
    raw(out, &text[plain..]);
    out.put_u8(b'"');
}

/// Appends a JSON string, or `null`.
pub(crate) fn string_or_null(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => raw(out, "null"),
    }
}

/// Appends a number.
pub(crate) fn number(out: &mut BytesMut, value: usize) {
    // A BytesMut takes all that is written to it.
    _ = write!(out, "{value}");
}

/// Appends an array of token ids.
pub(crate) fn ids(out: &mut BytesMut, ids: &[Id]) {
    out.put_u8(b'[');
    for (at, &id) in ids.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        number(out, id as usize);
    }
    out.put_u8(b']');
}

/// Appends OpenAI's usage object.
pub(crate) fn usage(out: &mut BytesMut, prompt: usize, completion: usize) {
    // A BytesMut takes all that is written to it.
    _ = write!(
        out,
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{}}}",
        prompt + completion
    );
}

/// Appends a named event.
pub(crate) fn event(out: &mut BytesMut, name: &str, data: &serde_json::Value) {
    // A BytesMut takes all that is written to it.
    _ = write!(out, "event: {name}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_read_back(text in "(?s).*") {
            let mut out = BytesMut::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }
    }
}
