//! A server that says no.

use crate::fault::{Answer, Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

/// Every request gets this answer; the upstream hears of none.
#[derive(Debug, Clone)]
pub struct Http {
    /// The status.
    pub status: ::http::StatusCode,
    /// Sent as `text/plain`.
    pub body: String,
    /// The `retry-after` header, in seconds.
    pub retry_after: Option<u32>,
}

impl Http {
    /// Without a body.
    #[must_use]
    pub fn status(status: ::http::StatusCode) -> Self {
        Self { status, body: String::new(), retry_after: None }
    }
}

impl Fault for Http {
    fn answer(&self) -> Option<Answer> {
        let reason = self.status.canonical_reason().unwrap_or("Unknown");
        let mut text = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n",
            self.status.as_u16(),
            self.body.len()
        );
        if let Some(seconds) = self.retry_after {
            text.push_str(&format!("retry-after: {seconds}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        Some(Answer { bytes: text.into_bytes(), close: false })
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http:{}", self.status.as_u16())?;
        if let Some(seconds) = self.retry_after {
            write!(f, ",retry-after={seconds}")?;
        }
        if self.body.is_empty() { Ok(()) } else { write!(f, ",body={}", self.body) }
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let values = spec::values(value, &["retry-after", "body"])?;
    let bad = |_| format!("`{}` is no status (200 to 999)", values.first);
    let status = ::http::StatusCode::from_bytes(values.first.as_bytes()).map_err(bad)?;
    if status.is_informational() {
        return Err("a final status (200 to 999) is needed".into());
    }
    let seconds = |text: &str| text.parse().map_err(|_| format!("`{text}` is no seconds"));
    let retry_after = values.get("retry-after").map(seconds).transpose()?;
    let body = values.get("body").unwrap_or_default().to_owned();
    Ok(Arc::new(Http { status, body, retry_after }))
}
