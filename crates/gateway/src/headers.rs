//! Header fields on their way through.

use evenkeel_domain::replica::Secret;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// Fields that concern one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Fields that carry a client's credentials to Evenkeel, and end here.
const CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Request id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Removes what concerns one connection only, the fields that `connection` names included.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove_all(headers, &HOP_BY_HOP);
}

/// Heads have few fields, and hardly ever one of these: to look at all of them costs less than
/// to hash each of these.
fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        if headers.keys().any(|there| there == name) {
            headers.remove(name);
        }
    }
}

/// Turns a client's request head into what every replica of the service gets.
pub(crate) fn to_replica(headers: &mut HeaderMap, keep_credentials: bool) {
    let te = headers.get(header::TE).is_some_and(|v| v == "trailers");
    strip_hop_by_hop(headers);
    if te {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if !keep_credentials {
        remove_all(headers, &CREDENTIALS);
    }
    // The body is framed anew, from what was really read.
    remove_all(headers, &[header::HOST, header::CONTENT_LENGTH, header::EXPECT]);
}

/// Adds a replica's own fields; a value that is no header value is left out (settings are
/// checked when they are read).
pub(crate) fn add_own(headers: &mut HeaderMap, own: &[(String, Secret)]) {
    for (name, value) in own {
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::try_from(name), HeaderValue::from_str(value.expose()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

/// The client's request id if it is a sane one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap, rng: &mut fastrand::Rng) -> HeaderValue {
    if let Some(given) = headers.get(REQUEST_ID) {
        let bytes = given.as_bytes();
        if !bytes.is_empty() && bytes.len() <= 128 && bytes.iter().all(u8::is_ascii_graphic) {
            return given.clone();
        }
    }
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 32];
    let mut random = rng.u128(..);
    for digit in &mut text {
        *digit = HEX[(random & 15) as usize];
        random >>= 4;
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The caller's own deadline: `x-request-timeout` (seconds, or with a unit: `800ms`, `2.5s`)
/// or `grpc-timeout`.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let (name, value) = match headers.get("x-request-timeout") {
        Some(value) => ("x-request-timeout", value),
        None => match headers.get("grpc-timeout") {
            Some(value) => ("grpc-timeout", value),
            None => return Ok(None),
        },
    };
    let text = value.to_str().unwrap_or_default();
    let parsed = if name == "grpc-timeout" { grpc_timeout(text) } else { timeout(text) };
    parsed.map(Some).ok_or_else(|| format!("{name}: `{text}` is no duration (try `2.5s`)"))
}

/// Longest deadline taken from a client: a day.
const LONGEST: f64 = 86_400.0;

fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.trim().parse::<f64>().ok()? * unit;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let unit = match text.as_bytes().last()? {
        b'H' => 3600.0,
        b'M' => 60.0,
        b'S' => 1.0,
        b'm' => 1e-3,
        b'u' => 1e-6,
        b'n' => 1e-9,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let sane = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: f64 = sane.then(|| digits.parse().ok())??;
    Some(Duration::from_secs_f64((number * unit).min(LONGEST)))
}

/// `retry-after` in seconds; dates are not honoured, they would need a common clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}

/// Whether a header's media type is `wanted`, parameters aside.
pub(crate) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= wanted.len()
            && value[..wanted.len()].eq_ignore_ascii_case(wanted.as_bytes())
            && matches!(value.get(wanted.len()), None | Some(b';' | b' '))
    })
}

/// Whether this is gRPC: `application/grpc`, `application/grpc+proto`, …
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| {
        v.as_bytes().starts_with(b"application/grpc")
            && !v.as_bytes().starts_with(b"application/grpc-web")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_clients() {
        let table = [
            ("x-request-timeout", "2.5s", Some(2500)),
            ("x-request-timeout", "3", Some(3000)),
            ("x-request-timeout", "800ms", Some(800)),
            ("grpc-timeout", "15S", Some(15_000)),
            ("grpc-timeout", "250m", Some(250)),
            ("x-request-timeout", "-1", None),
            ("x-request-timeout", "soon", None),
            ("grpc-timeout", "5", None),
            ("grpc-timeout", "é", None),
            ("x-request-timeout", "NaN", None),
        ];
        for (name, text, ms) in table {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let got = deadline(&headers);
            match ms {
                Some(ms) => assert_eq!(got, Ok(Some(Duration::from_millis(ms))), "{text}"),
                None => assert!(got.is_err(), "{text}"),
            }
        }
        assert_eq!(deadline(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, keep-alive"),
            ("x-hop", "1"),
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("te", "trailers"),
            ("x-kept", "1"),
            ("content-length", "5"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        to_replica(&mut headers, false);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-kept"]);
    }

    #[test]
    fn ids_are_kept_when_sane() {
        let mut rng = evenkeel_domain::rng::seeded(1);
        let mut headers = HeaderMap::new();
        let made = request_id(&headers, &mut rng);
        assert_eq!(made.len(), 32);
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(request_id(&headers, &mut rng), "abc-1");
        headers.insert(REQUEST_ID, HeaderValue::from_static("a b"));
        assert_ne!(request_id(&headers, &mut rng), "a b");
    }
}
