//! One file per API.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod messages;
pub(crate) mod metrics;
pub(crate) mod models;
mod openai;
pub(crate) mod responses;
pub(crate) mod tokenize;

use http::Response;

use crate::body::Reply;
use crate::error::ApiError;

/// What an endpoint gives back.
pub(crate) type Answer = Result<Response<Reply>, ApiError>;
