//! Reading `multipart/form-data` as it comes: bytes in, events out, no I/O.
//!
//! ```text
//!   --boundary CRLF  headers CRLF CRLF  content CRLF  --boundary …  --boundary--
//!   └ Begin ───────────────────────────┘└ Data* ┘└ End             └ Done
//! ```
//!
//! It never holds more than one header block and one part of what was pushed: readers of
//! such forms that buffer whatever the sender sends are how uploads exhaust memory.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

/// Bytes before the first part. Clients send none.
const PREAMBLE: usize = 8 << 10;
/// Bytes of one part's headers.
const HEADERS: usize = 8 << 10;
/// White space that may follow a boundary.
const PADDING: usize = 256;
/// Longest boundary (RFC 2046, 5.1.1).
const BOUNDARY: usize = 70;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A field begins.
    Begin {
        /// Its name.
        name: String,
        /// The name of the file that it holds, if it is one.
        filename: Option<String>,
    },
    /// Some of its content.
    Data(Bytes),
    /// It ends.
    End,
    /// The form is over; what follows is none of it.
    Done,
}

/// What is wrong with a form. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the body is not multipart/form-data with a boundary")]
    NotAForm,
    #[error("a part of the form has headers that cannot be read")]
    Headers,
    #[error("a boundary of the form is followed by something else than a line's end")]
    Boundary,
    #[error("the form ends before its last boundary")]
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before { skipped: usize },
    AfterBoundary,
    InHeaders,
    InContent,
    Over,
}

/// A reader of one form.
#[derive(Debug)]
pub(crate) struct Form {
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Form {
    /// A reader for a body of this `content-type`.
    pub(crate) fn new(content_type: &str) -> Result<Self, FormError> {
        let (kind, rest) = content_type.split_once(';').ok_or(FormError::NotAForm)?;
        let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
        let boundary = parameter(rest, "boundary").filter(|_| is_form);
        let boundary = boundary.ok_or(FormError::NotAForm)?;
        if boundary.is_empty() || boundary.len() > BOUNDARY {
            return Err(FormError::NotAForm);
        }
        // The first boundary needs no line before it: begin as if there had been one.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Ok(Self { delimiter, buffer, state: State::Before { skipped: 0 } })
    }

    /// Adds what came. Everything that was there should have been read.
    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.state != State::Over {
            self.buffer.extend_from_slice(data);
        }
    }

    /// Whether the form is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The next event; `None` when more must come first.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, FormError> {
        loop {
            let (state, event) = match self.state {
                State::Before { skipped } => self.before(skipped)?,
                State::AfterBoundary => self.after_boundary()?,
                State::InHeaders => self.in_headers()?,
                State::InContent => self.in_content(),
                State::Over => return Ok(None),
            };
            let moved = state != self.state;
            self.state = state;
            if event.is_some() || !moved {
                return Ok(event);
            }
        }
    }

    fn delimiter_at(&self) -> Option<usize> {
        memmem::find(&self.buffer, &self.delimiter)
    }

    /// How much of the buffer cannot be the beginning of a delimiter.
    fn certain(&self) -> usize {
        (self.buffer.len() + 1).saturating_sub(self.delimiter.len())
    }

    fn before(&mut self, skipped: usize) -> Result<(State, Option<Event>), FormError> {
        if let Some(at) = self.delimiter_at() {
            let _ = self.buffer.split_to(at + self.delimiter.len());
            return Ok((State::AfterBoundary, None));
        }
        let certain = self.certain();
        let _ = self.buffer.split_to(certain);
        let skipped = skipped + certain;
        if skipped > PREAMBLE {
            return Err(FormError::NotAForm);
        }
        Ok((State::Before { skipped }, None))
    }

    fn after_boundary(&mut self) -> Result<(State, Option<Event>), FormError> {
        if self.buffer.starts_with(b"--") {
            self.buffer.clear();
            return Ok((State::Over, Some(Event::Done)));
        }
        let Some(end) = memmem::find(&self.buffer, b"\r\n") else {
            let fits = self.buffer.len() <= PADDING;
            return if fits { Ok((self.state, None)) } else { Err(FormError::Boundary) };
        };
        let padding = self.buffer.split_to(end + 2);
        let blank = padding[..end].iter().all(|byte| matches!(byte, b' ' | b'\t'));
        if blank { Ok((State::InHeaders, None)) } else { Err(FormError::Boundary) }
    }

    fn in_headers(&mut self) -> Result<(State, Option<Event>), FormError> {
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            let fits = self.buffer.len() <= HEADERS;
            return if fits { Ok((self.state, None)) } else { Err(FormError::Headers) };
        };
        if end > HEADERS {
            return Err(FormError::Headers);
        }
        let block = self.buffer.split_to(end + 4);
        let (name, filename) = disposition(&block[..end]).ok_or(FormError::Headers)?;
        Ok((State::InContent, Some(Event::Begin { name, filename })))
    }

    fn in_content(&mut self) -> (State, Option<Event>) {
        match self.delimiter_at() {
            Some(0) => {
                let _ = self.buffer.split_to(self.delimiter.len());
                (State::AfterBoundary, Some(Event::End))
            }
            Some(at) => (State::InContent, Some(Event::Data(self.buffer.split_to(at).freeze()))),
            None => match self.certain() {
                0 => (State::InContent, None),
                n => (State::InContent, Some(Event::Data(self.buffer.split_to(n).freeze()))),
            },
        }
    }
}

/// Name and file name from a block of headers.
fn disposition(block: &[u8]) -> Option<(String, Option<String>)> {
    let block = std::str::from_utf8(block).ok()?;
    let values = block.split("\r\n").filter_map(|line| line.split_once(':'));
    let value = values
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .next()?;
    let (kind, rest) = value.split_once(';')?;
    let is_form = kind.trim().eq_ignore_ascii_case("form-data");
    let name = parameter(rest, "name").filter(|_| is_form)?;
    Some((name, parameter(rest, "filename")))
}

/// The value of a parameter in `; name="value"; other=value`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// What stands up to the closing quote, and what follows it. Browsers write a quote as
/// `%22`, others as `\"`.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value.replace("%22", "\""), &text[at + 1..])),
            '\\' if text[at + 1..].starts_with(['"', '\\']) => {
                value.extend(characters.next().map(|(_, escaped)| escaped));
            }
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=XyZ";

    type Field = (String, Option<String>, Vec<u8>);

    /// Fields with all of their content, read from pieces of `size` bytes.
    fn read(body: &[u8], size: usize) -> Result<Vec<Field>, FormError> {
        let mut form = Form::new(TYPE)?;
        let mut fields = Vec::new();
        for piece in body.chunks(size.max(1)) {
            form.push(piece);
            while let Some(event) = form.next()? {
                match event {
                    Event::Begin { name, filename } => fields.push((name, filename, Vec::new())),
                    Event::Data(data) => fields.last_mut().unwrap().2.extend_from_slice(&data),
                    Event::End | Event::Done => {}
                }
            }
            assert!(form.buffer.len() < HEADERS + size + 100, "nothing piles up");
        }
        if form.is_over() { Ok(fields) } else { Err(FormError::Incomplete) }
    }

    fn part(head: &str, content: &[u8]) -> Vec<u8> {
        let mut part = format!("--XyZ\r\nContent-Disposition: {head}\r\n\r\n").into_bytes();
        part.extend_from_slice(content);
        part.extend_from_slice(b"\r\n");
        part
    }

    #[test]
    fn fields_are_read_whatever_the_pieces() {
        let mut body = part("form-data; name=\"purpose\"", b"batch");
        body.extend(part("form-data; name=\"empty\"", b""));
        let tricky = b"{}\r\n\r\n--Xy\r\n--XyY\r\n-\r";
        body.extend(part("form-data; name=\"file\"; filename=\"a\\\"b;c.jsonl\"", tricky));
        body.extend_from_slice(b"--XyZ--\r\n");
        let expected = vec![
            ("purpose".to_owned(), None, b"batch".to_vec()),
            ("empty".to_owned(), None, Vec::new()),
            ("file".to_owned(), Some("a\"b;c.jsonl".to_owned()), tricky.to_vec()),
        ];
        for size in 1..body.len() + 1 {
            assert_eq!(read(&body, size).unwrap(), expected, "pieces of {size}");
        }
        let whole = body.len() - 4;
        for cut in 0..whole {
            assert!(read(&body[..cut], 7).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for kind in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=a",
            &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        ] {
            assert_eq!(Form::new(kind).unwrap_err(), FormError::NotAForm, "{kind}");
        }
        assert!(Form::new("Multipart/Form-Data; charset=x; Boundary=\"a b\"").is_ok());
        let long = vec![b'x'; PREAMBLE + 100];
        assert_eq!(read(&long, 100), Err(FormError::NotAForm));
        let mut endless = b"--XyZ\r\nContent-Disposition: ".to_vec();
        endless.extend(vec![b'x'; 2 * HEADERS]);
        assert_eq!(read(&endless, 100), Err(FormError::Headers));
        assert_eq!(read(b"--XyZnot a line\r\n", 5), Err(FormError::Boundary));
        assert_eq!(read(b"--XyZ\r\nContent-Type: text/plain\r\n\r\nx", 9), Err(FormError::Headers));
        let nameless = b"--XyZ\r\nContent-Disposition: form-data; filename=\"x\"\r\n\r\n";
        assert_eq!(read(nameless, 9), Err(FormError::Headers));
    }

    proptest! {
        #[test]
        fn any_content_comes_through(content: Vec<u8>, size in 1_usize..50) {
            prop_assume!(memmem::find(&content, b"\r\n--XyZ").is_none());
            let mut body = part("form-data; name=\"file\"", &content);
            body.extend_from_slice(b"--XyZ--");
            prop_assert_eq!(&read(&body, size).unwrap()[0].2, &content);
        }

        #[test]
        fn any_bytes_end_in_an_answer(body: Vec<u8>, size in 1_usize..50) {
            let _ = read(&body, size);
        }
    }
}
