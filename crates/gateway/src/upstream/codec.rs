//! HTTP/1.1 as a replica's client needs it: heads out, heads in, and body framing
//! (RFC 9112). Pure: bytes in, meaning out.
//!
//! hyper's own client hands every piece of a body from a connection's task to the
//! request's over a channel, which took most of the CPU of a stream of small pieces.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version, response};
use smallvec::SmallVec;
use std::mem::MaybeUninit;

/// Header fields of one answer at most.
const HEADERS_MAX: usize = 128;
/// Bytes of one answer's head, of a chunk's size line, or of trailers at most.
pub(crate) const HEAD_MAX: usize = 64 << 10;
/// A chunk's size line at most: 16 hex digits and some extension.
const LINE_MAX: usize = 1024;

/// Why an answer cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadAnswer(pub(crate) &'static str);

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// With the connection.
    Close,
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: response::Parts,
    pub(crate) framing: Framing,
    /// Whether the connection can carry another request after this answer.
    pub(crate) keep_alive: bool,
}

/// Takes an answer's head from the front of `buffer` once it is there whole.
pub(crate) fn head(buffer: &mut BytesMut, asked: &Method) -> Result<Option<Head>, BadAnswer> {
    // Not initialised: zeroing room for 128 fields would cost more than parsing ten.
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() > HEAD_MAX => {
            return Err(BadAnswer("the answer's head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BadAnswer("the answer is not HTTP/1.1")),
    };
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(BadAnswer("the answer has no valid status"))?;
    let http11 = parsed.version == Some(1);
    parts.version = if http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    // Places of the fields in the head, to share its bytes with the values.
    let base = buffer.as_ptr() as usize;
    let mut places: SmallVec<[(HeaderName, usize, usize); 12]> = SmallVec::new();
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| BadAnswer("the answer has an invalid header name"))?;
        let start = (field.value.as_ptr() as usize).saturating_sub(base);
        places.push((name, start, start + field.value.len()));
    }
    let raw = buffer.split_to(length).freeze();
    parts.headers.reserve(places.len() + 2);
    for (name, start, end) in places {
        let value = HeaderValue::from_maybe_shared(raw.slice(start..end))
            .map_err(|_| BadAnswer("the answer has an invalid header value"))?;
        parts.headers.append(name, value);
    }
    let framing = framing(&parts, asked)?;
    let keep_alive = framing != Framing::Close && keeps_alive(&parts.headers, http11);
    Ok(Some(Head { parts, framing, keep_alive }))
}

fn keeps_alive(headers: &HeaderMap, http11: bool) -> bool {
    let Some(connection) = headers.get(CONNECTION) else { return http11 };
    let says = |word: &str| {
        connection
            .to_str()
            .is_ok_and(|text| text.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    if http11 { !says("close") } else { says("keep-alive") }
}

/// RFC 9112, 6.3.
fn framing(parts: &response::Parts, asked: &Method) -> Result<Framing, BadAnswer> {
    let status = parts.status;
    if asked == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok(Framing::None);
    }
    if let Some(encoding) = parts.headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = encoding.to_str().ok().and_then(|text| text.rsplit(',').next());
        return Ok(match last.map(str::trim) {
            Some(word) if word.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            _ => Framing::Close,
        });
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Framing::Close) };
    if lengths.any(|other| other != first) {
        return Err(BadAnswer("the answer has two different content lengths"));
    }
    let digits = first.as_bytes();
    let number = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    match number.and_then(|text| text.parse().ok()) {
        Some(0) => Ok(Framing::None),
        Some(length) => Ok(Framing::Length(length)),
        None => Err(BadAnswer("the answer's content length is no number")),
    }
}

/// What a decoder has found in its buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// The body's end, with trailers where there were any.
    End(Option<Box<HeaderMap>>),
    /// More bytes are needed.
    More,
}

/// Takes a body out of a connection's bytes.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Close,
    /// Before a chunk's size line.
    Size,
    /// Inside a chunk, so many bytes to go.
    Chunk(u64),
    /// Before the line end that follows a chunk.
    ChunkEnd,
    /// Before trailers.
    Trailers,
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        };
        Self { state }
    }

    /// Whether the body's end was reached.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The connection's end: whether it is the body's end, too.
    pub(crate) fn may_end_here(&self) -> bool {
        matches!(self.state, State::Close | State::Done)
    }

    /// Whether what is left is the plain end of a chunked body, without trailers.
    pub(crate) fn at_end_of_chunks(&self, buffer: &[u8]) -> bool {
        let rest = match self.state {
            State::ChunkEnd => buffer.strip_prefix(b"\r\n0\r\n\r\n"),
            State::Size => buffer.strip_prefix(b"0\r\n\r\n"),
            State::Trailers => buffer.strip_prefix(b"\r\n"),
            _ => None,
        };
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// Decodes what is in the buffer. Several chunks that are there become one piece.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadAnswer> {
        match self.state {
            State::Done => Ok(Decoded::End(None)),
            State::Close if buffer.is_empty() => Ok(Decoded::More),
            State::Close => Ok(Decoded::Data(buffer.split().freeze())),
            State::Length(_) if buffer.is_empty() => Ok(Decoded::More),
            State::Length(left) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                self.state = match left - take as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                };
                Ok(Decoded::Data(buffer.split_to(take).freeze()))
            }
            _ => self.chunks(buffer),
        }
    }

    fn chunks(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadAnswer> {
        let mut one: Option<Bytes> = None;
        let mut many: Option<BytesMut> = None;
        loop {
            match self.state {
                State::Chunk(left) if !buffer.is_empty() => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    self.state = match left - take as u64 {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                    match (&mut many, one.take()) {
                        (Some(many), _) => {
                            many.extend_from_slice(&buffer[..take]);
                            buffer.advance(take);
                        }
                        (none, Some(first)) => {
                            let mut joined = BytesMut::with_capacity(buffer.len() + first.len());
                            joined.extend_from_slice(&first);
                            joined.extend_from_slice(&buffer[..take]);
                            buffer.advance(take);
                            *none = Some(joined);
                        }
                        (_, None) => one = Some(buffer.split_to(take).freeze()),
                    }
                }
                State::ChunkEnd if buffer.len() >= 2 => {
                    if !buffer.starts_with(b"\r\n") {
                        return Err(BadAnswer("a chunk does not end where it should"));
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Size => match size_line(buffer)? {
                    None => break,
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Chunk(size),
                },
                // Data first, the end with the next call.
                State::Trailers if one.is_some() || many.is_some() => break,
                State::Trailers => {
                    let Some(trailers) = trailers(buffer)? else { break };
                    self.state = State::Done;
                    return Ok(Decoded::End(trailers));
                }
                _ => break,
            }
        }
        match many.map(BytesMut::freeze).or(one) {
            Some(data) => Ok(Decoded::Data(data)),
            None => Ok(Decoded::More),
        }
    }
}

/// A chunk's size, once its line is there.
fn size_line(buffer: &mut BytesMut) -> Result<Option<u64>, BadAnswer> {
    let Some(end) = memchr::memchr(b'\n', &buffer[..buffer.len().min(LINE_MAX)]) else {
        if buffer.len() >= LINE_MAX {
            return Err(BadAnswer("a chunk's size line is too long"));
        }
        return Ok(None);
    };
    let line =
        buffer[..end].strip_suffix(b"\r").ok_or(BadAnswer("a chunk's size line is broken"))?;
    let digits = line.split(|b| matches!(b, b';' | b' ' | b'\t')).next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 16 {
        return Err(BadAnswer("a chunk's size is no number"));
    }
    let mut size = 0u64;
    for digit in digits {
        let value =
            char::from(*digit).to_digit(16).ok_or(BadAnswer("a chunk's size is no number"))?;
        size = size << 4 | u64::from(value);
    }
    buffer.advance(end + 1);
    Ok(Some(size))
}

type Trailers = Option<Box<HeaderMap>>;

/// The trailers after the last chunk, once they are there whole.
fn trailers(buffer: &mut BytesMut) -> Result<Option<Trailers>, BadAnswer> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(None));
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut found = HeaderMap::new();
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                if let (Ok(name), Ok(value)) = (name, value) {
                    found.append(name, value);
                }
            }
            buffer.advance(length);
            Ok(Some(Some(Box::new(found))))
        }
        Ok(httparse::Status::Partial) if buffer.len() > HEAD_MAX => {
            Err(BadAnswer("the answer's trailers are too large"))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(BadAnswer("the answer's trailers are broken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<Head>, BadAnswer> {
        head(&mut BytesMut::from(text), &Method::POST)
    }

    /// Feeds input in pieces; gives the body, and the trailers' count at its end.
    fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<usize>), BadAnswer> {
        let mut decoder = Decoder::new(framing);
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::More => break,
                    Decoded::End(trailers) => {
                        return Ok((body, Some(trailers.map_or(0, |t| t.len()))));
                    }
                }
            }
        }
        Ok((body, None))
    }

    #[test]
    fn heads_and_framing() {
        let table = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Framing::None, true),
            ("HTTP/1.1 204 x\r\n\r\n", Framing::None, true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Framing::Chunked, true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\ncontent-length: 3\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", Framing::Close, false),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::Close, false),
            (
                "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 1\r\n\r\n",
                Framing::Length(1),
                false,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", Framing::Length(1), false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n",
                Framing::Length(1),
                true,
            ),
        ];
        for (text, framing, keep_alive) in table {
            let head = parse(text).unwrap().unwrap();
            assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{text:?}");
        }
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
        for bad in [two, "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_MAX));
        assert!(parse(&endless).is_err());
    }

    #[test]
    fn values_are_the_heads_own_bytes() {
        let head = parse("HTTP/1.1 200 OK\r\na: 1\r\nB: two \r\na: 3\r\n\r\n").unwrap().unwrap();
        let all: Vec<_> = head.parts.headers.get_all("a").iter().collect();
        assert_eq!(all, ["1", "3"]);
        assert_eq!(head.parts.headers["b"], "two");
    }

    #[test]
    fn broken_chunks_are_found() {
        for bad in [
            "x\r\n",
            "\r\n",
            "1\r\nab\r\n",
            "1\nab",
            "11111111111111111\r\n",
            "-1\r\na\r\n",
            "0\r\n:\r\n\r\n",
        ] {
            assert!(decode(Framing::Chunked, &[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let endless = [b'1'; LINE_MAX];
        assert!(decode(Framing::Chunked, &[&endless]).is_err());
    }

    #[test]
    fn trailers_are_read() {
        let got = decode(Framing::Chunked, &[b"1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n"]).unwrap();
        assert_eq!(got, (b"a".to_vec(), Some(2)));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in proptest::collection::vec(0usize..400, 0..6),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x};e=1\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut at: Vec<usize> = cuts.into_iter().map(|c| c.min(wire.len())).collect();
            at.sort_unstable();
            at.push(wire.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for to in at { pieces.push(&wire[from..to]); from = to; }
            prop_assert_eq!(decode(Framing::Chunked, &pieces), Ok((chunks.concat(), Some(0))));
            // Without its last byte it has no end.
            let cut = decode(Framing::Chunked, &[&wire[..wire.len() - 1]]);
            prop_assert_eq!(cut, Ok((chunks.concat(), None)));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = head(&mut BytesMut::from(&bytes[..]), &Method::GET);
            for framing in [Framing::Chunked, Framing::Length(7), Framing::Close] {
                let _ = decode(framing, &[&bytes]);
            }
        }
    }
}
