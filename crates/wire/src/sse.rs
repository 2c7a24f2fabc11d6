//! An incremental reader for server-sent events (WHATWG HTML, "Event stream interpretation").
//!
//! Bytes in as they come, whole events out. Comments count as nothing: a server may send
//! them while it is stuck.

use memchr::memchr2;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty for the default type.
    pub kind: String,
    /// The `data:` lines, joined by `\n`.
    pub data: String,
}

/// Why a stream is no event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or an event longer than the bound.
    #[error("event longer than {0} bytes")]
    TooLong(usize),
    /// Bytes that are not UTF-8.
    #[error("event is not valid UTF-8")]
    NotUtf8,
}

/// The reader's state between two pieces of input.
#[derive(Debug)]
pub struct Reader {
    line: Vec<u8>,
    kind: String,
    data: String,
    has_data: bool,
    after_cr: bool,
    limit: usize,
}

impl Reader {
    /// A reader that holds at most `limit` bytes of one event.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            kind: String::new(),
            data: String::new(),
            has_data: false,
            after_cr: false,
            limit,
        }
    }

    /// Takes a piece of input and hands each event that it completes to `each`.
    ///
    /// # Errors
    /// When an event is too long or not UTF-8; the reader is then of no further use.
    pub fn feed(&mut self, mut input: &[u8], mut each: impl FnMut(Event)) -> Result<(), SseError> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while let Some(end) = memchr2(b'\n', b'\r', input) {
            self.grow(&input[..end])?;
            let was_cr = input[end] == b'\r';
            input = &input[end + 1..];
            if was_cr {
                match input.first() {
                    Some(b'\n') => input = &input[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if let Some(event) = self.end_of_line()? {
                each(event);
            }
        }
        self.grow(input)
    }

    /// Whether input ended in the middle of an event.
    #[must_use]
    pub fn is_inside_event(&self) -> bool {
        !self.line.is_empty() || self.has_data || !self.kind.is_empty()
    }

    fn grow(&mut self, piece: &[u8]) -> Result<(), SseError> {
        if self.line.len() + self.data.len() + piece.len() > self.limit {
            return Err(SseError::TooLong(self.limit));
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<Option<Event>, SseError> {
        if self.line.is_empty() {
            return Ok(self.dispatch());
        }
        let line = std::str::from_utf8(&self.line).map_err(|_| SseError::NotUtf8)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.kind),
            // `id` and `retry` serve reconnection, which model APIs do not use; a line that
            // starts with a colon is a comment.
            _ => {}
        }
        self.line.clear();
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        Some(Event { kind, data: std::mem::take(&mut self.data) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let mut reader = Reader::new(1 << 20);
        let mut out = Vec::new();
        for piece in pieces {
            reader.feed(piece, |e| out.push(e)).unwrap();
        }
        out
    }

    fn data(text: &str) -> Event {
        Event { kind: String::new(), data: text.into() }
    }

    #[test]
    fn the_forms_of_the_standard() {
        assert_eq!(read(&[b"data: a\n\ndata:b\r\n\r\n"]), [data("a"), data("b")]);
        assert_eq!(read(&[b"data: a\rdata: b\r\r"]), [data("a\nb")]);
        assert_eq!(read(&[b": ping\n\n\n"]), []);
        assert_eq!(read(&[b"event: x\ndata\n\n"]), [Event { kind: "x".into(), data: "".into() }]);
        assert_eq!(read(&[b"event: x\n\n"]), []);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut reader = Reader::new(16);
        assert_eq!(reader.feed(&[b'x'; 17], |_| ()), Err(SseError::TooLong(16)));
    }

    #[test]
    fn bad_utf8_is_refused() {
        let mut reader = Reader::new(64);
        assert_eq!(reader.feed(b"data: \xff\n", |_| ()), Err(SseError::NotUtf8));
    }

    /// What a reader makes of pieces: events, how it ended, whether inside an event.
    fn read_any(limit: usize, pieces: &[&[u8]]) -> (Vec<Event>, Result<(), SseError>, bool) {
        let mut reader = Reader::new(limit);
        let mut out = Vec::new();
        let end = pieces.iter().try_for_each(|piece| reader.feed(piece, |e| out.push(e)));
        let inside = end.is_ok() && reader.is_inside_event();
        (out, end, inside)
    }

    proptest! {
        #[test]
        fn where_the_input_is_cut_does_not_matter(
            words in proptest::collection::vec(
                prop_oneof![
                    "(data: [a-zé]{0,5}|event: e|: c|id: 1)?(\n|\r|\r\n)".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..3),
                ],
                0..12,
            ),
            limit in 8usize..64,
            cuts in proptest::collection::vec(0usize..100, 0..8),
        ) {
            let bytes = words.concat();
            let mut at: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            at.sort_unstable();
            at.push(bytes.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for to in at { pieces.push(&bytes[from..to]); from = to; }
            prop_assert_eq!(read_any(limit, &pieces), read_any(limit, &[&bytes]));
        }
    }
}
