//! What must hold for any bytes that come from outside, said once: fuzz targets (`fuzz/`)
//! run it on what they invent, the tests below on every build.
//!
//! A property that does not hold panics.

use crate::headers;
use crate::route::head as json;
use crate::trace::parent::TraceParent;
use crate::upstream::codec::{self, BadAnswer, Decoded, Decoder, Framing, Head};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method};
use std::time::Duration;

/// Takes input apart: its first bytes say into what pieces the rest is cut.
#[must_use]
pub fn pieces(data: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (count, data) = data.split_first().unwrap_or((&0, &[]));
    let (cuts, payload) = data.split_at(usize::from(count % 8).min(data.len()));
    let mut left = payload;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = left.split_at(usize::from(*cut).min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    (payload, pieces)
}

/// A replica's answer head means the same however it arrives, and framing never leaves a
/// body open on a connection that is used again.
pub fn answer_head(data: &[u8]) {
    let (payload, pieces) = pieces(data);
    for method in [Method::POST, Method::HEAD] {
        let mut whole = BytesMut::from(payload);
        let at_once = codec::head(&mut whole, &method);
        let mut buffer = BytesMut::new();
        let mut in_pieces = Ok(None);
        for piece in &pieces {
            buffer.extend_from_slice(piece);
            if matches!(in_pieces, Ok(None)) {
                in_pieces = codec::head(&mut buffer, &method);
            }
        }
        assert_eq!(known(&at_once), known(&in_pieces), "cut as {pieces:?}");
        if let Ok(Some(head)) = at_once {
            assert_eq!(whole, buffer, "the same is left");
            assert!(payload.ends_with(&whole) && whole.len() < payload.len());
            assert!(!(head.keep_alive && head.framing == Framing::Close));
            assert!(method != Method::HEAD || head.framing == Framing::None);
        }
    }
}

type Known = Result<Option<(u16, HeaderMap, Framing, bool)>, BadAnswer>;

fn known(head: &Result<Option<Head>, BadAnswer>) -> Known {
    match head {
        Err(bad) => Err(bad.clone()),
        Ok(None) => Ok(None),
        Ok(Some(Head { parts, framing, keep_alive })) => {
            Ok(Some((parts.status.as_u16(), parts.headers.clone(), *framing, *keep_alive)))
        }
    }
}

/// A body is the same however it is cut.
pub fn answer_body(data: &[u8]) {
    let (kind, data) = data.split_first().unwrap_or((&0, &[]));
    let framing = match kind % 4 {
        // Never zero: that is no body at all.
        0 => Framing::Length(u64::from(*kind) + 1),
        1 => Framing::Close,
        _ => Framing::Chunked,
    };
    let (payload, pieces) = pieces(data);
    let whole = decode(framing, &[payload]);
    let cut = decode(framing, &pieces);
    assert_eq!(whole.end, cut.end, "cut as {pieces:?}");
    if let End::Bad(_) = whole.end {
        // What came before the error may or may not have been handed on.
        assert!(whole.body.starts_with(&cut.body) || cut.body.starts_with(&whole.body));
    } else {
        assert_eq!((whole.body, whole.left), (cut.body, cut.left), "cut as {pieces:?}");
    }
}

struct Read {
    body: Vec<u8>,
    left: Vec<u8>,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Done(Option<Box<HeaderMap>>),
    Bad(BadAnswer),
}

fn decode(framing: Framing, pieces: &[&[u8]]) -> Read {
    let mut decoder = Decoder::new(framing);
    let mut buffer = BytesMut::new();
    let (mut body, mut end) = (Vec::new(), End::Open);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while end == End::Open {
            let ends_plainly = decoder.at_end_of_chunks(&buffer);
            let decoded = decoder.decode(&mut buffer);
            assert!(!ends_plainly || decoded == Ok(Decoded::End(None)));
            match decoded {
                Ok(Decoded::More) => break,
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    body.extend_from_slice(&data);
                }
                Ok(Decoded::End(trailers)) => end = End::Done(trailers),
                Err(bad) => end = End::Bad(bad),
            }
        }
    }
    Read { body, left: buffer.to_vec(), end }
}

/// A JSON body's model is where it is said to be, can be replaced there, and a body that is
/// too large to hold is routed to the same place.
pub fn request_body(data: &[u8]) {
    let _ = json::model_in_multipart(data);
    let in_prefix = json::model_in_prefix(data);
    let Ok(head) = json::read(data) else { return };
    let Some((name, at)) = head.model else { return };
    assert_eq!(in_prefix.as_deref(), Some(&*name));
    let json: Option<String> = data.get(at.clone()).and_then(|j| serde_json::from_slice(j).ok());
    assert_eq!(json.as_deref(), Some(&*name));
    let renamed = json::with_model(data, at, "new \"name\"");
    let again = json::read(&renamed).map(|head| head.model.map(|(name, _)| name.into_owned()));
    assert_eq!(again, Ok(Some("new \"name\"".to_owned())));
}

/// Header values of clients and replicas: read within bounds or refused.
pub fn header_values(data: &[u8]) {
    const DAY: Duration = Duration::from_secs(86_400);
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    for name in ["x-request-timeout", "grpc-timeout"] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        assert!(
            headers::deadline(&headers).is_err() || headers::deadline(&headers) <= Ok(Some(DAY))
        );
    }
    let mut headers = HeaderMap::new();
    for name in ["retry-after", "content-type", "connection", "te", "traceparent", "x-request-id"] {
        headers.insert(name, value.clone());
    }
    assert!(headers::retry_after(&headers) <= Some(DAY));
    let _ = (headers::is_grpc(&headers), headers::is_type(&headers, "application/json"));
    let id = headers::request_id(&headers, &mut evenkeel_domain::rng::seeded(1));
    assert!((1..=128).contains(&id.len()));
    let parent = TraceParent::of(&headers);
    assert_eq!(parent, TraceParent::parse(data));
    if let Some(parent) = parent {
        assert_eq!(TraceParent::parse(&parent.format()), Some(parent));
    }
    headers::to_replica(&mut headers, false);
    assert!(!headers.contains_key("connection"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Bytes that often mean something.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("\r\n"),
            Just("\n"),
            Just("HTTP/1.1 200 OK\r\n"),
            Just("HTTP/1.0 204 \r\n"),
            Just("content-length: 3\r\n"),
            Just("transfer-encoding: chunked\r\n"),
            Just("connection: close\r\n"),
            Just("x: y\r\n"),
            Just("0\r\n"),
            Just("3\r\nabc\r\n"),
            Just("a;x=y\r\n"),
            Just("0123456789\r\n"),
            Just("\r"),
            Just("\u{e9}"),
        ];
        let text = vec(word, 0..12).prop_map(|words| words.concat().into_bytes());
        prop_oneof![4 => text, 1 => vec(any::<u8>(), 0..64)]
    }

    /// Puts the cuts in front, as [`pieces`] expects them.
    fn cut(payload: &[u8], cuts: &[u8]) -> Vec<u8> {
        let count = u8::try_from(cuts.len()).unwrap();
        [&[count], cuts, payload].concat()
    }

    fn jsons() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("{"),
            Just("}"),
            Just("\"model\""),
            Just("\"mod\\u0065l\""),
            Just(":"),
            Just(","),
            Just("\"a\\\"b\""),
            Just("\"\\ud800\""),
            Just("null"),
            Just("\"store\":true"),
            Just("[1,{\"model\":2}]"),
            Just("\"user\":\"u\""),
            Just(" "),
            Just("1e5"),
        ];
        let soup = vec(word, 0..12).prop_map(|words| words.concat());
        let whole = ("(null|\"[a-zé\\\\n]{0,6}\"|7)", "[ \t]{0,2}")
            .prop_map(|(model, gap)| format!("{{\"a\":[]{gap},\"model\":{gap}{model}}}{gap}"));
        prop_oneof![soup, whole].prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn heads(payload in wire(), cuts in vec(any::<u8>(), 0..8)) {
            answer_head(&cut(&payload, &cuts));
        }

        #[test]
        fn bodies(kind in any::<u8>(), payload in wire(), cuts in vec(0u8..16, 0..8)) {
            answer_body(&[&[kind], &cut(&payload, &cuts)[..]].concat());
        }

        #[test]
        fn requests(body in prop_oneof![jsons(), wire()]) {
            request_body(&body);
        }

        #[test]
        fn values(value in "(\\PC{0,12}|[0-9.eE+-]{1,12}(ms|s|S|m|u|n|H|M)?|00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3])") {
            header_values(value.as_bytes());
        }
    }
}
