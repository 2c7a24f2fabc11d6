//! Whether a batch's file makes sense: pure, line by line, all of it in bounded memory.
//!
//! Codes and messages are OpenAI's where they are known. Blank lines are skipped.

use crate::lines::{Found, Lines};
use evenkeel_domain::durable::InputError;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// Mistakes that are told. A file that is wrong everywhere is wrong once.
const ERRORS: usize = 100;
/// Bytes of a `custom_id`: all of a batch's are held while it is read.
const CUSTOM_ID: usize = 512;

/// Where a line lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What a good file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Input {
    /// Its lines, in order.
    pub(crate) lines: Vec<Place>,
    /// The model that all of them name.
    pub(crate) model: Option<String>,
}

/// A line as it should be.
#[derive(Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow)]
    pub(crate) custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) body: Option<&'a RawValue>,
}

/// What is looked at in a body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Model {
    Unseen,
    One(String),
    Several,
}

/// Reads a batch's file.
#[derive(Debug)]
pub(crate) struct Validator {
    endpoint: String,
    max_lines: u32,
    lines: Lines,
    state: State,
}

#[derive(Debug)]
struct State {
    number: u32,
    found: Vec<Place>,
    ids: HashSet<String>,
    model: Model,
    errors: Vec<InputError>,
    too_many: bool,
}

impl Validator {
    /// For a batch whose lines call `endpoint`.
    pub(crate) fn new(endpoint: &str, max_lines: u32, max_line_bytes: usize) -> Self {
        let state = State {
            number: 0,
            found: Vec::new(),
            ids: HashSet::new(),
            model: Model::Unseen,
            errors: Vec::new(),
            too_many: false,
        };
        Self { endpoint: endpoint.into(), max_lines, lines: Lines::new(max_line_bytes), state }
    }

    /// Takes the next piece. `false`: enough is known, the rest need not be read.
    pub(crate) fn push(&mut self, piece: &[u8]) -> bool {
        let Self { endpoint, max_lines, lines, state } = self;
        lines.push(piece, |found| state.line(found, endpoint, *max_lines));
        !state.is_lost()
    }

    /// The verdict.
    pub(crate) fn end(self) -> Result<Input, Vec<InputError>> {
        let Self { endpoint, max_lines, lines, mut state } = self;
        lines.end(|found| state.line(found, &endpoint, max_lines));
        if state.too_many {
            let message = format!("The file has more than {max_lines} requests.");
            return Err(vec![error("too_many_tasks", message, None, None)]);
        }
        if state.found.is_empty() && state.errors.is_empty() {
            return Err(vec![error("empty_file", "The file is empty.", None, None)]);
        }
        if !state.errors.is_empty() {
            return Err(state.errors);
        }
        let model = match state.model {
            Model::One(model) => Some(model),
            Model::Unseen | Model::Several => None,
        };
        Ok(Input { lines: state.found, model })
    }
}

impl State {
    fn is_lost(&self) -> bool {
        self.too_many || self.errors.len() >= ERRORS
    }

    fn line(&mut self, found: Found<'_>, endpoint: &str, max_lines: u32) {
        self.number = self.number.saturating_add(1);
        if self.is_lost() {
            return;
        }
        let wrong = match found {
            Found::TooLong => Some(("line_too_large", "This line is too large.".to_owned(), None)),
            Found::Line { bytes, .. } if bytes.trim_ascii().is_empty() => return,
            Found::Line { bytes, .. } => self.look(bytes, endpoint).err(),
        };
        if let Some((code, message, param)) = wrong {
            self.errors.push(error(code, message, param, Some(self.number)));
        } else if let Found::Line { offset, bytes } = found {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.found.push(Place { offset, length });
        }
        let seen = self.found.len() + self.errors.len();
        self.too_many = seen > max_lines as usize;
    }

    fn look(&mut self, bytes: &[u8], endpoint: &str) -> Result<(), Wrong> {
        let line = parse(bytes).ok_or_else(not_json)?;
        let id = custom_id(line.custom_id)?;
        fixed(line.method, "method", "POST", |given| {
            ("invalid_method", format!("Invalid value: '{given}'. Supported values are: 'POST'."))
        })?;
        fixed(line.url, "url", endpoint, |_| {
            let message = "The URL provided for this request does not prefix match the batch \
                           endpoint.";
            ("invalid_url", message.to_owned())
        })?;
        let body = line.body.ok_or_else(|| missing("body"))?;
        self.body(body)?;
        if self.ids.insert(id.clone()) {
            return Ok(());
        }
        let message = format!(
            "The custom_id '{id}' for this request is a duplicate of another request. The \
             custom_id parameter must be unique for each request in a batch."
        );
        Err(("duplicate_custom_id", message, Some("custom_id")))
    }

    fn body(&mut self, body: &RawValue) -> Result<(), Wrong> {
        let not_an_object = || {
            (
                "invalid_type",
                "Invalid type for 'body': expected an object.".to_owned(),
                Some("body"),
            )
        };
        let body: Body<'_> = serde_json::from_str(body.get()).map_err(|_| not_an_object())?;
        if body.stream.is_some_and(|stream| stream.get() == "true") {
            let message = "Requests in a batch cannot be streamed.".to_owned();
            return Err(("invalid_value", message, Some("body.stream")));
        }
        let model = body.model.and_then(|model| serde_json::from_str::<String>(model.get()).ok());
        self.model = match (std::mem::replace(&mut self.model, Model::Several), model) {
            (Model::Unseen, Some(model)) if self.ids.is_empty() => Model::One(model),
            (Model::One(one), Some(model)) if one == model => Model::One(one),
            _ => Model::Several,
        };
        Ok(())
    }
}

/// Code, message and parameter.
type Wrong = (&'static str, String, Option<&'static str>);

/// A line, if it is a JSON object. A byte order mark before the first is let pass.
pub(crate) fn parse(bytes: &[u8]) -> Option<Line<'_>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).ok()
}

fn custom_id(given: Option<&RawValue>) -> Result<String, Wrong> {
    let given = given.ok_or_else(|| missing("custom_id"))?;
    let id: String = serde_json::from_str(given.get()).map_err(|_| {
        let message = "Invalid type for 'custom_id': expected a string.".to_owned();
        ("invalid_type", message, Some("custom_id"))
    })?;
    if id.is_empty() || id.len() > CUSTOM_ID {
        let message = format!("'custom_id' must have 1 to {CUSTOM_ID} bytes.");
        return Err(("invalid_value", message, Some("custom_id")));
    }
    Ok(id)
}

fn fixed(
    given: Option<&RawValue>,
    param: &'static str,
    expected: &str,
    wrong: impl Fn(&str) -> (&'static str, String),
) -> Result<(), Wrong> {
    let given = given.ok_or_else(|| missing(param))?;
    let text: Option<String> = serde_json::from_str(given.get()).ok();
    if text.as_deref() == Some(expected) {
        return Ok(());
    }
    let shown: String = text.as_deref().unwrap_or(given.get()).chars().take(100).collect();
    let (code, message) = wrong(&shown);
    Err((code, message, Some(param)))
}

fn missing(param: &'static str) -> Wrong {
    ("missing_required_parameter", format!("Missing required parameter: '{param}'."), Some(param))
}

fn not_json() -> Wrong {
    ("invalid_json_line", "This line is not parseable as valid JSON.".to_owned(), None)
}

fn error(
    code: &str,
    message: impl Into<String>,
    param: Option<&str>,
    line: Option<u32>,
) -> InputError {
    InputError { code: code.into(), message: message.into(), param: param.map(Into::into), line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str) -> Result<Input, Vec<InputError>> {
        let mut validator = Validator::new("/v1/echo", 200, 300);
        content.as_bytes().chunks(7).all(|piece| validator.push(piece));
        validator.end()
    }

    fn good(id: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"/v1/echo","body":{{"model":"m"}}}}"#)
    }

    /// Code, parameter and line of each mistake.
    fn mistakes(content: &str) -> Vec<(String, Option<String>, Option<u32>)> {
        let errors = check(content).unwrap_err();
        errors.into_iter().map(|e| (e.code, e.param, e.line)).collect()
    }

    #[test]
    fn a_good_file_is_its_lines() {
        let content = format!("\u{feff}{}\r\n\n{}\n  \n", good("a"), good("b"));
        let input = check(&content).unwrap();
        assert_eq!(input.model.as_deref(), Some("m"));
        let lines: Vec<&str> = input
            .lines
            .iter()
            .map(|at| &content[at.offset as usize..][..at.length as usize])
            .collect();
        assert_eq!(lines, [format!("\u{feff}{}", good("a")), good("b")]);
    }

    #[test]
    fn a_model_is_named_when_it_is_one() {
        let other = good("b").replace("\"m\"", "\"n\"");
        assert_eq!(check(&format!("{}\n{other}", good("a"))).unwrap().model, None);
        let none = good("b").replace(r#"{"model":"m"}"#, "{}");
        assert_eq!(check(&format!("{}\n{none}", good("a"))).unwrap().model, None);
        assert_eq!(check(&format!("{none}\n{}", good("a"))).unwrap().model, None);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let one = |line: &str| {
            let mut told = mistakes(&format!("{}\n{line}\n", good("first")));
            assert_eq!(told.len(), 1, "{line}: {told:?}");
            let (code, param, at) = told.remove(0);
            assert_eq!(at, Some(2), "{line}");
            (code, param.unwrap_or_default())
        };
        let with = |from: &str, to: &str| one(&good("x").replace(from, to));
        let is = |code: &str, param: &str| (code.to_owned(), param.to_owned());
        for not_json in ["{", "nonsense", "[]", "\"text\"", "{} {}", "\u{1}"] {
            assert_eq!(one(not_json), is("invalid_json_line", ""), "{not_json}");
        }
        let missing = |param| is("missing_required_parameter", param);
        assert_eq!(with(r#""custom_id":"x","#, ""), missing("custom_id"));
        assert_eq!(with(r#""method":"POST","#, ""), missing("method"));
        assert_eq!(with(r#""url":"/v1/echo","#, ""), missing("url"));
        assert_eq!(with(r#","body":{"model":"m"}"#, ""), missing("body"));
        assert_eq!(with("\"x\"", "7"), is("invalid_type", "custom_id"));
        assert_eq!(with("\"x\"", "\"\""), is("invalid_value", "custom_id"));
        assert_eq!(with("\"x\"", "\"first\""), is("duplicate_custom_id", "custom_id"));
        assert_eq!(with("POST", "GET"), is("invalid_method", "method"));
        assert_eq!(with("/v1/echo", "/v1/other"), is("invalid_url", "url"));
        assert_eq!(with(r#"{"model":"m"}"#, "[1]"), is("invalid_type", "body"));
        let stream = is("invalid_value", "body.stream");
        assert_eq!(with(r#""model":"m""#, r#""stream": true"#), stream);
        assert_eq!(one(&good(&"x".repeat(300))), is("line_too_large", ""));
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_up_to_a_hundred() {
        let content = format!("{}\n{{\n{}\n[]\n", good("a"), good("a"));
        let lines: Vec<_> = mistakes(&content).into_iter().map(|(.., line)| line).collect();
        assert_eq!(lines, [Some(2), Some(3), Some(4)]);
        assert_eq!(mistakes(&"{\n".repeat(150)).len(), ERRORS);
    }

    #[test]
    fn a_file_has_some_lines_and_not_too_many() {
        let whole = |content: &str| mistakes(content);
        let about_all = |code: &str| vec![(code.to_owned(), None, None)];
        assert_eq!(whole(""), about_all("empty_file"));
        assert_eq!(whole("\n  \n\r\n"), about_all("empty_file"));
        let lines = |n: usize| (0..n).map(|n| good(&n.to_string()) + "\n").collect::<String>();
        assert_eq!(check(&lines(200)).unwrap().lines.len(), 200);
        assert_eq!(whole(&lines(201)), about_all("too_many_tasks"));
    }
}
