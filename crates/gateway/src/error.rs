//! What a client gets when the gateway itself answers: one closed set of refusals, each
//! with its status, its OpenAI type and code, and a text that says what to do.

use crate::admit::limit::Limited;
use crate::body::OutBody;
use bytes::Bytes;
use evenkeel_domain::settings::Protocol;
use evenkeel_domain::{Outcome, ReplicaFault};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use std::time::Duration;

/// Why the gateway answers by itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is not what its type says.
    #[error("The request body is not valid JSON: {0}")]
    BadJson(String),
    /// The head contradicts itself or asks for what is not offered.
    #[error("{0}")]
    BadRequest(String),
    /// No model was named.
    #[error("You must provide a `model` parameter. Models served here: {0}")]
    ModelMissing(String),
    /// No model was named in the part of a large body that is looked at.
    #[error(
        "The first {0} bytes of this large request name no `model`: put `model` before `messages`"
    )]
    ModelLate(usize),
    /// `model` has the wrong type.
    #[error("`model` must be a string")]
    ModelType,
    /// A field that no replica could make sense of.
    #[error("`{0}` must be {1}")]
    Senseless(&'static str, &'static str),
    /// Nobody serves this model.
    #[error("The model `{model}` does not exist. Models served here: {served}")]
    ModelUnknown {
        /// What was asked for.
        model: String,
        /// What there is.
        served: String,
    },
    /// No route for this path.
    #[error("No service is configured for {0}")]
    NoRoute(String),
    /// The body is larger than the service allows.
    #[error("The request body is larger than {0} bytes, the limit of this service (`max_body`)")]
    TooLarge(u64),
    /// The body came too slowly.
    #[error("The request body did not arrive in time")]
    BodyTimeout,
    /// The client's body broke off.
    #[error("The request body broke off: {0}")]
    BodyBroken(String),
    /// The caller's own deadline ran out.
    #[error("The request's deadline ran out after {0:?}")]
    Expired(Duration),
    /// No replica could take it in time.
    #[error("No replica of `{service}` could take the request: {why}")]
    Unavailable {
        /// The service.
        service: String,
        /// What stood in the way.
        why: String,
    },
    /// The service does less for now, and this is not what it still does.
    #[error(
        "`{0}` has more to do than it can; requests that can wait are refused for now. Try again \
         later"
    )]
    Degraded(String),
    /// More is asked for than the replicas can take.
    #[error(
        "`{service}` has more to do than its replicas can take: {waiting} requests wait. Try \
         again later"
    )]
    Overloaded {
        /// The service.
        service: String,
        /// How many wait.
        waiting: u32,
        /// When there may be room again.
        retry: Duration,
    },
    /// No good key was shown.
    #[error("{0}")]
    Key(KeyFault),
    /// The key is good, but not for this service.
    #[error("`{who}` may not use the service `{service}`")]
    NotAllowed {
        /// The key's name, or the owner's of a batch.
        who: String,
        /// The service.
        service: String,
    },
    /// Beyond a limit.
    #[error("{0}")]
    Limited(Box<Limited>),
    /// Every attempt failed.
    #[error("All {attempts} attempts on `{service}` failed; the last one: {last}")]
    AllFailed {
        /// The service.
        service: String,
        /// How many were made.
        attempts: u32,
        /// How the last one ended.
        last: Outcome,
    },
    /// It failed and may not be sent twice.
    #[error(
        "The replica failed ({0}) and the request may not be repeated: it is not idempotent and \
         part of it was already sent. Send an `Idempotency-Key` to allow it"
    )]
    NotRepeatable(Outcome),
    /// Too few replicas gave the same answer.
    #[error(
        "{answered} replicas of `{service}` answered, and no {agree} of them agree: the answer \
         would not be certain"
    )]
    NoAgreement {
        /// The service.
        service: String,
        /// How many answered.
        answered: usize,
        /// How many had to agree.
        agree: u32,
    },
    /// It was in flight at three replica deaths.
    #[error(
        "This request was being answered by {0} replicas when they died; it is refused for ten \
         minutes"
    )]
    QueryOfDeath(usize),
}

/// What is wrong with the key that a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFault {
    /// There is none.
    #[error(
        "No API key was given. Send one as `authorization: Bearer KEY`, or as `x-api-key: KEY`"
    )]
    Missing,
    /// Nobody has it, or not any more.
    #[error("Incorrect API key provided: it is not known here")]
    Unknown,
    /// Its time is over.
    #[error("This API key has expired")]
    Expired,
    /// It was taken back.
    #[error("This API key was revoked")]
    Revoked,
}

impl Refusal {
    /// HTTP status, OpenAI `type`, `code` and `param`.
    fn class(&self) -> (StatusCode, &'static str, &'static str, Option<&'static str>) {
        use StatusCode as S;
        let invalid = "invalid_request_error";
        match self {
            Self::BadJson(_) => (S::BAD_REQUEST, invalid, "invalid_json", None),
            Self::BadRequest(_) => (S::BAD_REQUEST, invalid, "bad_request", None),
            Self::ModelMissing(_) | Self::ModelLate(_) => {
                (S::BAD_REQUEST, invalid, "model_missing", Some("model"))
            }
            Self::ModelType => (S::BAD_REQUEST, invalid, "invalid_type", Some("model")),
            Self::Senseless(name, _) => (S::BAD_REQUEST, invalid, "invalid_value", Some(name)),
            Self::ModelUnknown { .. } => (S::NOT_FOUND, invalid, "model_not_found", Some("model")),
            Self::NoRoute(_) => (S::NOT_FOUND, invalid, "not_found", None),
            Self::TooLarge(_) => (S::PAYLOAD_TOO_LARGE, invalid, "body_too_large", None),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, invalid, "body_timeout", None),
            Self::BodyBroken(_) => (S::BAD_REQUEST, invalid, "body_incomplete", None),
            Self::Expired(_) => (S::GATEWAY_TIMEOUT, "timeout", "deadline_exceeded", None),
            Self::Unavailable { .. } => {
                (S::SERVICE_UNAVAILABLE, "server_error", "no_replica_available", None)
            }
            Self::Degraded(_) => (S::SERVICE_UNAVAILABLE, "server_error", "degraded", None),
            Self::Overloaded { .. } => (S::SERVICE_UNAVAILABLE, "server_error", "overloaded", None),
            Self::Key(_) => (S::UNAUTHORIZED, invalid, "invalid_api_key", None),
            Self::NotAllowed { .. } => (S::FORBIDDEN, invalid, "service_not_allowed", None),
            // As OpenAI has it: the type says which limit, the code that it is one.
            Self::Limited(limited) => {
                (S::TOO_MANY_REQUESTS, limited.what.label(), "rate_limit_exceeded", None)
            }
            Self::AllFailed { .. } => (S::BAD_GATEWAY, "server_error", "all_attempts_failed", None),
            Self::NotRepeatable(_) => (S::BAD_GATEWAY, "server_error", "replica_failed", None),
            Self::NoAgreement { .. } => (S::BAD_GATEWAY, "server_error", "no_agreement", None),
            Self::QueryOfDeath(_) => (S::BAD_GATEWAY, "server_error", "query_of_death", None),
        }
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.class().0
    }

    /// The outcome that the client's request is counted as.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Expired(_) => Outcome::Expired,
            Self::Unavailable { .. } | Self::Degraded(_) | Self::Overloaded { .. } => {
                Outcome::Backpressure
            }
            Self::NoAgreement { .. } => Outcome::ReplicaFault(ReplicaFault::Garbage),
            Self::AllFailed { last, .. } | Self::NotRepeatable(last) => *last,
            _ => Outcome::ClientFault,
        }
    }

    /// The answer, in the shape that clients of `shape` expect.
    pub(crate) fn respond(&self, shape: Shape) -> Response<OutBody> {
        let (status, ..) = self.class();
        let mut response = match shape {
            Shape::Grpc => self.grpc(),
            Shape::OpenAi => json(status, &self.openai()),
            Shape::Anthropic => json(status, &self.anthropic()),
            Shape::Kserve => json(status, &serde_json::json!({ "error": self.to_string() })),
        };
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED && shape != Shape::Grpc {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(retry)));
        }
        // No attempt was made when there was no place for one: another try does no harm.
        let own = status.is_server_error() && !matches!(self, Self::Overloaded { .. });
        // More than there is in a minute will not be there in the next one either.
        let never = matches!(self, Self::Limited(limited) if limited.retry.is_none());
        if (own && shape != Shape::Grpc) || never {
            // Our own attempts are used up; a client that tries again multiplies the load.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }

    /// When another try makes sense.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { .. } => Some(Duration::from_secs(1)),
            // A level is kept for a while.
            Self::Degraded(_) => Some(Duration::from_secs(30)),
            Self::Overloaded { retry, .. } => Some(*retry),
            Self::Limited(limited) => limited.retry,
            _ => None,
        }
    }

    /// OpenAI's error object.
    pub(crate) fn openai(&self) -> serde_json::Value {
        let (_, kind, code, param) = self.class();
        serde_json::json!({ "error": {
            "message": self.to_string(), "type": kind, "param": param, "code": code,
        }})
    }

    fn anthropic(&self) -> serde_json::Value {
        let (status, ..) = self.class();
        let kind = match status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            503 => "overloaded_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        serde_json::json!({
            "type": "error", "error": { "type": kind, "message": self.to_string() },
        })
    }

    /// A trailers-only answer, with the gRPC code closest to the HTTP status.
    fn grpc(&self) -> Response<OutBody> {
        let (status, ..) = self.class();
        let code = match status.as_u16() {
            401 => "16",
            403 => "7",
            404 => "12",
            408 | 504 => "4",
            413 | 429 => "8",
            502 | 503 => "14",
            _ => "3",
        };
        let mut response = Response::new(OutBody::Empty);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        if let Ok(text) = HeaderValue::from_str(&percent_encoded(&self.to_string())) {
            headers.insert("grpc-message", text);
        }
        response
    }
}

/// Longest time that a client is sent away for: by then everything may be different.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Whole seconds, as `retry-after` has them: at least one.
fn seconds(time: Duration) -> u64 {
    time.min(AWAY_MAX).as_secs_f64().ceil().max(1.0) as u64
}

/// gRPC's percent encoding of messages: everything outside printable ASCII, and `%`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whose error shape a client expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    OpenAi,
    Anthropic,
    Kserve,
    Grpc,
}

impl Shape {
    /// By the path and the protocol of the service, once known.
    pub(crate) fn of(path: &str, grpc: bool, protocol: Option<Protocol>) -> Self {
        if grpc {
            Self::Grpc
        } else if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else if protocol == Some(Protocol::Kserve) {
            Self::Kserve
        } else {
            Self::OpenAi
        }
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<OutBody> {
    let mut response = Response::new(OutBody::full(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_the_clients_language() {
        let refusal = Refusal::Unavailable { service: "chat".into(), why: "100% down\n".into() };
        let response = refusal.respond(Shape::OpenAi);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-should-retry"], "false");
        let grpc = refusal.respond(Shape::Grpc);
        assert_eq!(grpc.status(), 200);
        assert_eq!(grpc.headers()["grpc-status"], "14");
        assert!(grpc.headers()["grpc-message"].to_str().unwrap().contains("100%25 down%0A"));
        assert_eq!(refusal.anthropic()["error"]["type"], "overloaded_error");
    }

    #[test]
    fn who_may_not_ask_is_told_so_in_every_language() {
        use crate::admit::limit::tests::limited;
        let not_allowed = Refusal::NotAllowed { who: "a".into(), service: "chat".into() };
        let soon = Some(Duration::from_millis(1200));
        for (refusal, status, code, anthropic, grpc, retry) in [
            (
                Refusal::Key(KeyFault::Missing),
                401,
                "invalid_api_key",
                "authentication_error",
                "16",
                None,
            ),
            (not_allowed, 403, "service_not_allowed", "permission_error", "7", None),
            (limited(soon).into(), 429, "rate_limit_exceeded", "rate_limit_error", "8", Some("2")),
            (limited(None).into(), 429, "rate_limit_exceeded", "rate_limit_error", "8", None),
        ] {
            assert_eq!(refusal.openai()["error"]["code"], code);
            assert_eq!(refusal.anthropic()["error"]["type"], anthropic);
            for shape in [Shape::OpenAi, Shape::Anthropic, Shape::Kserve, Shape::Grpc] {
                let response = refusal.respond(shape);
                let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
                assert_eq!(header("retry-after"), retry, "{code} {shape:?}");
                assert_eq!(header("x-should-retry").is_some(), refusal == limited(None).into());
                match shape {
                    Shape::Grpc => assert_eq!(header("grpc-status"), Some(grpc)),
                    _ => assert_eq!(response.status(), status),
                }
            }
        }
    }
}
