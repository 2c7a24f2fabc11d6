//! How a request ended, as a closed set that reports count by.

use crate::load::retry::Again;
use evenkeel_domain::outcome::NetworkFault;
use serde::Serialize;
use std::error::Error;
use std::io;

/// How a request ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered, whole and, as far as checked, right.
    Ok,
    /// A redirect, which is not followed.
    #[serde(rename = "http_3xx")]
    Http3xx,
    /// Refused as the client's fault, or for too many requests.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// Failed at the server.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// Nobody listens.
    Refused,
    /// No way to the server: name, route or TLS.
    Unreachable,
    /// The connection was reset, or closed without an answer.
    Reset,
    /// No whole answer in time.
    Timeout,
    /// The answer stops before its end.
    Truncated,
    /// The answer is not what was asked for, or differs from what is right.
    Wrong,
    /// A stream ended with an error in band.
    ErrorEvent,
}

impl Outcome {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Http3xx,
        Self::Http4xx,
        Self::Http5xx,
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::Timeout,
        Self::Truncated,
        Self::Wrong,
        Self::ErrorEvent,
    ];

    /// As in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Http3xx => "http_3xx",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Wrong => "wrong",
            Self::ErrorEvent => "error_event",
        }
    }
}

/// What is the matter with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Never [`Outcome::Ok`].
    pub outcome: Outcome,
    /// For people.
    pub text: String,
    /// What the server says of trying again.
    pub again: Again,
}

impl Flaw {
    /// A flaw of this kind.
    #[must_use]
    pub fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into(), again: Again::default() }
    }

    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        Self::new(Outcome::Wrong, text)
    }

    pub(crate) fn truncated(text: impl Into<String>) -> Self {
        Self::new(Outcome::Truncated, text)
    }

    /// Of an answer with a status that is not success.
    pub(crate) fn status(status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Self {
        let outcome = match status.as_u16() {
            300..=399 => Outcome::Http3xx,
            400..=499 => Outcome::Http4xx,
            500..=599 => Outcome::Http5xx,
            _ => Outcome::Wrong,
        };
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let again = Again::of(status, headers);
        Self { again, ..Self::new(outcome, format!("{status} {}", shown.trim())) }
    }

    /// Of a connection that did not come about.
    pub(crate) fn dial(error: &evenkeel_domain::transport::DialError) -> Self {
        let outcome = match error.fault {
            NetworkFault::Refused => Outcome::Refused,
            NetworkFault::Reset => Outcome::Reset,
            NetworkFault::ConnectTimeout => Outcome::Timeout,
            _ => Outcome::Unreachable,
        };
        Self::new(outcome, error.text.clone())
    }

    /// Of an exchange that broke: before the head of the answer, or inside its body.
    pub(crate) fn broken(error: &hyper::Error, in_body: bool) -> Self {
        let text = with_causes(error);
        let outcome = if has_reset(error) {
            Outcome::Reset
        } else if error.is_parse() {
            Outcome::Wrong
        } else if in_body {
            Outcome::Truncated
        } else {
            Outcome::Reset
        };
        Self::new(outcome, text)
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn has_reset(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_json() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            let json = serde_json::to_value(outcome).unwrap();
            assert_eq!(json, outcome.name());
            assert_eq!(outcome as usize, at, "counts are kept by position");
        }
    }
}
