//! Errors as OpenAI's API spells them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use evenkeel_domain::durable::{Limit, StoreError};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Whose fault an error is, as OpenAI calls it.
const CALLER: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    /// Seconds after which trying again makes sense.
    retry_after: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: String) -> Self {
        Self { status, kind, code: Some(code), message, param: None, retry_after: None }
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, CALLER, code, message.into())
    }

    pub(crate) fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn missing(param: &str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::invalid("missing_required_parameter", message).about(param)
    }

    pub(crate) fn unknown(param: &str) -> Self {
        Self::invalid("unknown_parameter", format!("Unknown parameter: '{param}'.")).about(param)
    }

    pub(crate) fn wrong_type(param: &str, expected: &str) -> Self {
        let message = format!("Invalid type for '{param}': expected {expected}.");
        Self::invalid("invalid_type", message).about(param)
    }

    pub(crate) fn wrong_value(param: &str, given: &str, supported: &str) -> Self {
        // What was given is echoed in part: a client that sends a file here needs no copy.
        let given: String = given.chars().take(100).collect();
        let message = format!("Invalid value: '{given}'. {supported}");
        Self::invalid("invalid_value", message).about(param)
    }

    pub(crate) fn too_large(max: u64) -> Self {
        let message =
            format!("The file is larger than {max} bytes, which is the most that is accepted.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, CALLER, "file_too_large", message).about("file")
    }

    pub(crate) fn body_too_large(max: usize) -> Self {
        let message = format!("The request's body is larger than {max} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, CALLER, "request_too_large", message)
    }

    pub(crate) fn slow() -> Self {
        let message = "The upload stood still for too long.".to_owned();
        Self::new(StatusCode::REQUEST_TIMEOUT, CALLER, "timeout", message)
    }

    pub(crate) fn busy(message: &str) -> Self {
        let code = "rate_limit_exceeded";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", code, message.to_owned())
            .after(1)
    }

    pub(crate) fn nobody() -> Self {
        let message = "The caller is not known.".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, CALLER, "invalid_api_key", message)
    }

    pub(crate) fn no_path() -> Self {
        let message = "There is nothing at this path.".to_owned();
        Self::new(StatusCode::NOT_FOUND, CALLER, "unknown_url", message)
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "This path has another method.".to_owned();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, CALLER, "method_not_allowed", message)
    }

    fn not_found(what: &'static str, id: &str) -> Self {
        let id: String = id.chars().take(100).collect();
        let message = match what {
            "file" => format!("No such File object: {id}"),
            _ => format!("No {what} found with id '{id}'."),
        };
        Self::new(StatusCode::NOT_FOUND, CALLER, "not_found", message).about("id")
    }

    fn full(limit: Limit, max: u64) -> Self {
        match limit {
            Limit::Bytes => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                CALLER,
                "storage_limit_exceeded",
                format!("All files together may take {max} bytes. Delete files to make room."),
            ),
            Limit::Files => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                CALLER,
                "file_limit_exceeded",
                format!("There may be {max} files. Delete files to make room."),
            ),
            Limit::OpenBatches => Self::busy(&format!(
                "There may be {max} batches that have not ended. Try again once one has."
            ))
            .after(60),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Corrupt(_) | StoreError::Invalid(_) | StoreError::Fenced => {
                tracing::error!(%error, "a request about files or batches failed");
            }
            StoreError::NoSpace | StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request about files or batches failed");
            }
            _ => {}
        }
        let server = |status, code, message: &str| Self::new(status, SERVER, code, message.into());
        match error {
            StoreError::NotFound { what, id } => Self::not_found(what, &id),
            StoreError::Conflict { status, .. } => Self::new(
                StatusCode::CONFLICT,
                CALLER,
                "invalid_batch_status",
                format!("Cannot cancel a batch with status '{status}'."),
            ),
            StoreError::Full { limit, max } => Self::full(limit, max),
            StoreError::NoSpace => server(
                StatusCode::SERVICE_UNAVAILABLE,
                "disk_full",
                "The disk that holds files and batches is full; nothing was accepted.",
            )
            .after(60),
            StoreError::Unavailable(_) => server(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "Files and batches cannot be reached at the moment; nothing was accepted.",
            )
            .after(5),
            StoreError::Corrupt(_) | StoreError::Invalid(_) | StoreError::Fenced => server(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store_error",
                "Files and batches cannot be used until an operator has acted; see the log.",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }});
        let mut response = (self.status, Json(error)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
