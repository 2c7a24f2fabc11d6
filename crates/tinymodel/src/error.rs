//! Refusals, in the shape each API's clients expect.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::Reply;

/// Whose error shape to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
}

/// Why a request is not answered.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// A parameter of the wrong type or value.
    pub(crate) fn param(name: impl Into<String>, message: impl std::fmt::Display) -> Self {
        let name = name.into();
        let message = format!("`{name}` {message}");
        Self { param: Some(name), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// Something a real server may do and this one does not.
    pub(crate) fn unsupported(name: &str) -> Self {
        let error = Self::param(name, "is not supported by the built-in model");
        Self { code: Some("unsupported_parameter"), ..error }
    }

    /// A request body that is no JSON object.
    pub(crate) fn bad_json(why: impl std::fmt::Display) -> Self {
        let message = format!("the request body is not a JSON object: {why}");
        Self { code: Some("invalid_json"), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// Prompt and answer do not fit.
    pub(crate) fn too_long(limit: usize, asked: usize, name: &'static str) -> Self {
        let message = format!(
            "this model's maximum context length is {limit} tokens; prompt and answer ask for {asked}"
        );
        let error = Self::new(StatusCode::BAD_REQUEST, message);
        Self { param: Some(name.into()), code: Some("context_length_exceeded"), ..error }
    }

    /// A body over the limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// Another model than the one served.
    pub(crate) fn no_such_model(name: &str) -> Self {
        let message = format!("the model `{name}` does not exist");
        let error = Self::new(StatusCode::NOT_FOUND, message);
        Self { param: Some("model".into()), code: Some("model_not_found"), ..error }
    }

    /// A path nothing answers at.
    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("nothing is served at {path}"))
    }

    /// The wrong method for a path.
    pub(crate) fn wrong_method(allowed: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed} here"))
    }

    /// Slots and queue are full.
    pub(crate) fn busy() -> Self {
        let message = "all slots are busy and the queue is full";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        Self { code: Some("queue_full"), retry_after: Some(1), ..error }
    }

    /// Not ready yet.
    pub(crate) fn loading() -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Loading model");
        Self { code: Some("loading"), retry_after: Some(1), ..error }
    }

    fn body(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::OpenAi => json!({"error": {
                "message": self.message,
                "type": self.openai_type(),
                "param": self.param,
                "code": self.code,
            }}),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic_type(), "message": self.message},
            }),
        }
    }

    fn openai_type(&self) -> &'static str {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            "unavailable_error"
        } else {
            "invalid_request_error"
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            _ => "invalid_request_error",
        }
    }

    /// The response that tells the client.
    pub(crate) fn response(&self, dialect: Dialect) -> Response<Reply> {
        let mut response = Reply::json(self.status, self.body(dialect).to_string());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
