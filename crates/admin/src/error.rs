//! Errors as JSON, each with what helps.

use crate::ports::ControlError;
use crate::view::{ErrorBody, ErrorView};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// What a caller is told.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    remedy: String,
}

impl ApiError {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), remedy: remedy.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, remedy)
    }

    pub(crate) fn not_found(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message, remedy)
    }

    pub(crate) fn forbidden(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message, remedy)
    }

    pub(crate) fn unavailable(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, remedy)
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let (status, code, message, remedy) = match error {
            ControlError::NotFound { message, remedy } => {
                (StatusCode::NOT_FOUND, "not_found", message, remedy)
            }
            ControlError::Conflict { message, remedy } => {
                (StatusCode::CONFLICT, "conflict", message, remedy)
            }
            ControlError::Unavailable { message, remedy } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, remedy)
            }
            ControlError::Invalid { message, remedy } => {
                (StatusCode::BAD_REQUEST, "invalid", message, remedy)
            }
        };
        Self { status, code, message, remedy }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error =
            ErrorView { message: self.message, remedy: self.remedy, code: self.code.to_owned() };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}
