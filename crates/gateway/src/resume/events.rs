//! Server-sent events as they came, whole ones only.
//!
//! Unlike [`evenkeel_wire::sse`], which reads, this keeps the bytes: what a healthy replica
//! sends goes to the client untouched, and what breaks off in the middle of an event never
//! does.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2, memrchr2_iter};
use std::borrow::Cow;

/// Largest event. An image in base64 fits in; an endless line does not.
pub(crate) const EVENT_MAX: usize = 8 << 20;

/// An event that is longer than [`EVENT_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Holds back what is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: BytesMut,
}

impl Splitter {
    /// Takes a piece; gives the whole events that are there now.
    pub(crate) fn take(&mut self, piece: Bytes) -> Result<Bytes, TooLong> {
        if self.held.is_empty() {
            let end = end_of_last(&piece, 0);
            self.held.extend_from_slice(&piece[end..]);
            return self.bounded(piece.slice(..end));
        }
        // A blank line may have begun before this piece.
        let from = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(&piece);
        let end = end_of_last(&self.held, from);
        let whole = self.held.split_to(end).freeze();
        self.bounded(whole)
    }

    /// What is left at the end of the input: an event without its blank line. Servers end
    /// streams so.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Bytes held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn bounded(&self, whole: Bytes) -> Result<Bytes, TooLong> {
        if self.held.len() > EVENT_MAX { Err(TooLong) } else { Ok(whole) }
    }
}

/// The end of the last blank line that ends at or after `from`; 0 without one.
fn end_of_last(bytes: &[u8], from: usize) -> usize {
    memrchr2_iter(b'\n', b'\r', &bytes[from..])
        .map(|at| at + from)
        .find(|&at| ends_blank_line(&bytes[..=at]))
        .map_or(0, |at| at + 1)
}

/// Whether these bytes end with an empty line: two line ends in a row. A lone CR at the
/// very end may be half of a CRLF, so it does not count as the second one unless the first
/// was a lone CR, too.
fn ends_blank_line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\r\r")
}

/// One event, or a comment (without data), with its own bytes.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    /// The `event:` field; empty without one.
    pub(crate) kind: &'a str,
    /// The `data:` lines joined; `None` for comments.
    pub(crate) data: Option<Cow<'a, str>>,
    /// Nothing but comments.
    pub(crate) is_comment: bool,
    /// Where it stands in the input, blank line included.
    pub(crate) at: std::ops::Range<usize>,
}

/// Reads the events of whole blocks. An item is an error when it is not UTF-8.
pub(crate) struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes that are not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8 {
    /// Where the block begins.
    pub(crate) at: usize,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next line without its end, and where the next one begins.
    fn line(&self, from: usize) -> Option<(&'a [u8], usize)> {
        let rest = &self.bytes[from..];
        if rest.is_empty() {
            return None;
        }
        let Some(end) = memchr2(b'\n', b'\r', rest) else {
            return Some((rest, self.bytes.len()));
        };
        let width = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        Some((&rest[..end], from + end + width))
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, NotUtf8>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let mut block = Block { kind: "", data: None, is_comment: true, at: start..start };
        let mut seen = false;
        while let Some((line, next)) = self.line(self.at) {
            self.at = next;
            if line.is_empty() {
                if seen {
                    break;
                }
                continue;
            }
            seen = true;
            let Ok(line) = std::str::from_utf8(line) else {
                return Some(Err(NotUtf8 { at: start }));
            };
            field(&mut block, line);
        }
        block.at.end = self.at;
        (self.at > start).then_some(Ok(block))
    }
}

fn field<'a>(block: &mut Block<'a>, line: &'a str) {
    let (name, value) = match memchr(b':', line.as_bytes()) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, ""),
    };
    let value = value.strip_prefix(' ').unwrap_or(value);
    block.is_comment &= name.is_empty();
    match name {
        "data" => {
            block.data = Some(match block.data.take() {
                None => Cow::Borrowed(value),
                Some(before) => Cow::Owned(format!("{before}\n{value}")),
            });
        }
        "event" => block.kind = value,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(bytes: &[u8]) -> Vec<(String, Option<String>)> {
        Blocks::new(bytes)
            .map(|b| b.unwrap())
            .map(|b| (b.kind.to_owned(), b.data.map(Cow::into_owned)))
            .collect()
    }

    #[test]
    fn blocks_are_read() {
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(data(b"data: a\n\n"), [(String::new(), some("a"))]);
        assert_eq!(
            data(b": ping\n\nevent: x\r\ndata: a\r\ndata:b\r\n\r\n"),
            [(String::new(), None), ("x".into(), some("a\nb"))]
        );
        assert_eq!(data(b"data: a\r\rdata: b\r\r").len(), 2);
        assert_eq!(data(b"\n\ndata: a"), [(String::new(), some("a"))]);
        assert!(Blocks::new(b"data: \xff\n\n").next().unwrap().is_err());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::default();
        let piece = Bytes::from(vec![b'x'; EVENT_MAX / 2]);
        assert!(splitter.take(piece.clone()).is_ok());
        assert!(splitter.take(piece.clone()).is_ok());
        assert_eq!(splitter.take(Bytes::from_static(b"x")), Err(TooLong));
    }

    proptest! {
        #[test]
        fn only_whole_events_pass_and_nothing_is_lost(
            words in proptest::collection::vec(
                prop_oneof!["(data: [a-zé]{0,5}|event: e|: c)?(\n|\r\n)", "[a-z\n]{0,4}"], 0..12),
            cuts in proptest::collection::vec(0usize..120, 0..8),
        ) {
            let bytes = words.concat().into_bytes();
            let mut at: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            at.sort_unstable();
            at.push(bytes.len());
            let mut splitter = Splitter::default();
            let (mut from, mut out) = (0, Vec::new());
            for to in at {
                let whole = splitter.take(Bytes::copy_from_slice(&bytes[from..to])).unwrap();
                prop_assert!(whole.is_empty() || ends_blank_line(&whole));
                out.extend_from_slice(&whole);
                from = to;
            }
            let rest = splitter.rest();
            prop_assert_eq!(end_of_last(&rest, 0), 0);
            out.extend_from_slice(&rest);
            prop_assert_eq!(&out, &bytes);
            let total: usize = Blocks::new(&bytes).map(|b| b.unwrap().at.len()).sum();
            prop_assert_eq!(total, bytes.len());
        }
    }
}
