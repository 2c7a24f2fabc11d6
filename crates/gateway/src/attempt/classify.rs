//! What an answer says of the replica that gave it. Pure.

use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use http::{HeaderMap, StatusCode};

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A good answer, if its body is one.
    Good,
    /// The client's own fault: pass it on as it is.
    PassOn,
    /// Try elsewhere.
    Bad(Outcome),
}

/// By status and, for gRPC, by the status among the headers of an answer without a body.
pub(crate) fn head(status: StatusCode, headers: &HeaderMap, grpc: bool) -> Verdict {
    if grpc && status == StatusCode::OK {
        return match headers.contains_key("grpc-status") {
            true => self::grpc(grpc_status(headers), false),
            false => Verdict::Good,
        };
    }
    match status.as_u16() {
        429 | 503 => Verdict::Bad(Outcome::Backpressure),
        // What the server does not implement, no other copy of it does either.
        501 | 505 => Verdict::PassOn,
        500..=599 => Verdict::Bad(Outcome::ReplicaFault(ReplicaFault::ServerError)),
        400..=499 => Verdict::PassOn,
        _ => Verdict::Good,
    }
}

/// `grpc-status` as a number.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// By gRPC status code. `in_trailers`: after a head without one; there a missing status is
/// a fault.
pub(crate) fn grpc(status: Option<u16>, in_trailers: bool) -> Verdict {
    match status {
        Some(0) => Verdict::Good,
        // UNAVAILABLE says "try elsewhere"; RESOURCE_EXHAUSTED "not now".
        Some(8 | 14) => Verdict::Bad(Outcome::Backpressure),
        // UNKNOWN, INTERNAL, DATA_LOSS.
        Some(2 | 13 | 15) => Verdict::Bad(Outcome::ReplicaFault(ReplicaFault::ServerError)),
        Some(_) if in_trailers => Verdict::Good,
        Some(_) => Verdict::PassOn,
        None => Verdict::Bad(Outcome::ReplicaFault(ReplicaFault::Truncated)),
    }
}

/// Whether an answer with this status has no body by definition.
pub(crate) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_verdict() {
        let fault = Verdict::Bad(Outcome::ReplicaFault(ReplicaFault::ServerError));
        let busy = Verdict::Bad(Outcome::Backpressure);
        for code in 200..600u16 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = match code {
                429 | 503 => busy,
                501 | 505 => Verdict::PassOn,
                500.. => fault,
                400.. => Verdict::PassOn,
                _ => Verdict::Good,
            };
            assert_eq!(head(status, &HeaderMap::new(), false), expected, "{code}");
        }
    }

    #[test]
    fn grpc_codes() {
        for code in 0..17u16 {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.to_string().parse().unwrap());
            let verdict = head(StatusCode::OK, &headers, true);
            let expected = match code {
                0 => Verdict::Good,
                8 | 14 => Verdict::Bad(Outcome::Backpressure),
                2 | 13 | 15 => Verdict::Bad(Outcome::ReplicaFault(ReplicaFault::ServerError)),
                _ => Verdict::PassOn,
            };
            assert_eq!(verdict, expected, "{code}");
        }
        assert!(matches!(grpc(None, true), Verdict::Bad(_)));
    }
}
