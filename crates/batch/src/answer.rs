//! What is kept of an answer, and whether it is one: pure.

use crate::execute::Done;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evenkeel_domain::durable::{Answer, LineResult, Tokens};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Bytes of a request's id that are kept.
const REQUEST_ID: usize = 128;

/// What a call means for its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is answered.
    Answered(Answer),
    /// Nobody had room; try again, however often.
    Later(Option<Duration>),
    /// A server failed. Try again a few times; then this is the answer.
    Fault(Answer),
}

/// Judges what came of line `index`, whose calls have `key`.
pub(crate) fn judge(index: u32, key: &str, done: Done, max_bytes: usize) -> Outcome {
    let (status, request_id, retry_after, body) = match done {
        Done::Later { retry_after } => return Outcome::Later(retry_after),
        Done::Answer { status, request_id, retry_after, body } => {
            (status, request_id, retry_after, body)
        }
    };
    if matches!(status, 429 | 503) {
        return Outcome::Later(retry_after);
    }
    let tokens = tokens(&body);
    let result = match body {
        body if body.len() > max_bytes => too_large(max_bytes),
        body => LineResult::Response { status, body: one_line(body) },
    };
    // A few kinds of content grow when they become JSON.
    let result = if result.bytes() > max_bytes as u64 { too_large(max_bytes) } else { result };
    let request_id = request_id.filter(|id| id.len() <= REQUEST_ID).unwrap_or_else(|| key.into());
    let answer = Answer { index, request_id, result, tokens };
    match status {
        500 | 502 | 504 => Outcome::Fault(answer),
        _ => Outcome::Answered(answer),
    }
}

/// An answer that no server gave.
pub(crate) fn failed(index: u32, key: &str, code: &str, message: &str) -> Answer {
    let result = LineResult::Error { code: code.into(), message: message.into() };
    Answer { index, request_id: key.into(), result, tokens: Tokens::default() }
}

fn too_large(max: usize) -> LineResult {
    LineResult::Error {
        code: "response_too_large".into(),
        message: format!("The answer is larger than {max} bytes."),
    }
}

/// A body as one line of JSON: JSON without its line ends, text as a string, anything else
/// as `{"base64": …}`.
fn one_line(mut body: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<&RawValue>(&body).is_ok() {
        // JSON has line ends between its words only: within strings they are escaped.
        for byte in &mut body {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        return body.trim_ascii().to_vec();
    }
    let value = match String::from_utf8(body) {
        Ok(text) => serde_json::Value::String(text),
        Err(binary) => serde_json::json!({ "base64": STANDARD.encode(binary.as_bytes()) }),
    };
    value.to_string().into_bytes()
}

/// Tokens as chat completions or responses count them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    #[serde(alias = "prompt_tokens")]
    input_tokens: u64,
    #[serde(alias = "completion_tokens")]
    output_tokens: u64,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<Details>,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

fn tokens(body: &[u8]) -> Tokens {
    #[derive(Deserialize)]
    struct Body {
        usage: Usage,
    }
    let Ok(Body { usage }) = serde_json::from_slice(body) else { return Tokens::default() };
    let (input, output) = (usage.input_tokens_details, usage.output_tokens_details);
    Tokens {
        input: usage.input_tokens,
        cached: input.and_then(|details| details.cached_tokens).unwrap_or(0),
        output: usage.output_tokens,
        reasoning: output.and_then(|details| details.reasoning_tokens).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(status: u16, body: &[u8]) -> Done {
        Done::Answer { status, request_id: None, retry_after: None, body: body.to_vec() }
    }

    fn body(given: &[u8]) -> String {
        let Outcome::Answered(answer) = judge(3, "key", done(200, given), 100) else { panic!() };
        let LineResult::Response { body, .. } = answer.result else { panic!("{answer:?}") };
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn status_decides_what_follows() {
        let after = Some(Duration::from_secs(3));
        assert_eq!(judge(0, "k", Done::Later { retry_after: after }, 9), Outcome::Later(after));
        for (status, expected) in [
            (200, "answered"),
            (400, "answered"),
            (404, "answered"),
            (429, "later"),
            (500, "fault"),
            (501, "answered"),
            (502, "fault"),
            (503, "later"),
            (504, "fault"),
        ] {
            let found = match judge(0, "k", done(status, b"{}"), 9) {
                Outcome::Answered(_) => "answered",
                Outcome::Later(_) => "later",
                Outcome::Fault(_) => "fault",
            };
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn a_body_becomes_one_line_of_json() {
        assert_eq!(body(b"{\n \"a\": \"x\\ny\"\r\n}\n"), "{  \"a\": \"x\\ny\"  }");
        assert_eq!(body(b"plain\ntext"), r#""plain\ntext""#);
        assert_eq!(body(b""), r#""""#);
        assert_eq!(body(&[0xff, 0x00]), r#"{"base64":"/wA="}"#);
        assert_eq!(body(b"{\"a\":1} tail"), r#""{\"a\":1} tail""#);
    }

    #[test]
    fn an_answer_is_bounded() {
        for long in [vec![b'1'; 101], vec![0xff; 90]] {
            let Outcome::Answered(answer) = judge(0, "k", done(200, &long), 100) else { panic!() };
            let LineResult::Error { code, .. } = answer.result else { panic!() };
            assert_eq!(code, "response_too_large");
        }
    }

    #[test]
    fn tokens_are_counted_in_both_spellings() {
        let expected = Tokens { input: 7, cached: 3, output: 5, reasoning: 2 };
        let chat = br#"{"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12,
            "prompt_tokens_details":{"cached_tokens":3},
            "completion_tokens_details":{"reasoning_tokens":2}}}"#;
        let responses = br#"{"usage":{"input_tokens":7,"output_tokens":5,
            "input_tokens_details":{"cached_tokens":3},
            "output_tokens_details":{"reasoning_tokens":2}}}"#;
        assert_eq!(tokens(chat), expected);
        assert_eq!(tokens(responses), expected);
        let embeddings = br#"{"usage":{"prompt_tokens":7,"total_tokens":7}}"#;
        assert_eq!(tokens(embeddings), Tokens { input: 7, ..Tokens::default() });
        assert_eq!(tokens(br#"{"usage":null}"#), Tokens::default());
        assert_eq!(tokens(b"nonsense"), Tokens::default());
    }
}
