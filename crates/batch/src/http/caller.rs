//! Who calls.

use super::Api;
use crate::error::ApiError;
use axum::extract::FromRequestParts;
use evenkeel_domain::durable::Owner;
use http::request::Parts;

pub use evenkeel_domain::durable::OWNER_HEADER as KEY_HEADER;

/// Whose files and batches a request is about.
pub(crate) struct Caller(pub(crate) Owner);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        if let Some(owner) = parts.extensions.get::<Owner>() {
            return Ok(Self(owner.clone()));
        }
        let named = parts.headers.get(KEY_HEADER).and_then(|value| value.to_str().ok());
        named.and_then(Owner::new).map(Self).ok_or_else(ApiError::nobody)
    }
}
