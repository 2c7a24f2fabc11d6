//! A drill leads connections to a replica over its proxy, for as long as its call is open.
//!
//! The answer does not end, and is what holds the way: a caller that is killed has let go.

use super::Api;
use super::orders::{Body, owner, read};
use crate::error::ApiError;
use crate::stream;
use crate::view::{DetourBody, ErrorBody};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use std::net::SocketAddr;

/// Bytes of a reason.
const WHY: usize = 200;

/// Leads connections to a replica to another address while this answer is open. It goes on
/// with a line now and then; the way is straight again once the caller has gone.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/detour", tag = "orders",
    params(("name" = String, Path, description = "The replica")),
    request_body(content = DetourBody),
    responses(
        (status = 200, description = "Held while it is read", body = String, content_type = "text/plain"),
        (status = 400, description = "The address is not on this host", body = ErrorBody),
        (status = 404, description = "No such replica", body = ErrorBody),
        (status = 409, description = "Somebody else holds the way to it", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(crate) async fn detour(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let body: DetourBody = read(body)?;
    let to = here(&body.to)?;
    let owner = owner(body.owner)?;
    let why: String = body.why.chars().take(WHY).collect();
    let place = stream::place(&api)?;
    let held = api.state.control.detour(&name, to, &owner, &why)?;
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, stream::held(held, api.stop.clone(), place)).into_response())
}

/// What clients ask and say may only be led to where this host's root could read it anyway.
fn here(text: &str) -> Result<SocketAddr, ApiError> {
    let address: SocketAddr = text.parse().map_err(|_| {
        ApiError::invalid(format!("`{text}` is no address"), "write it as 127.0.0.1:4000")
    })?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(ApiError::invalid(
            format!("{address} is not on this host"),
            "the proxy of a drill runs beside the gateway and listens on loopback",
        ));
    }
    Ok(address)
}
