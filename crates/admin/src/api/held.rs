//! What a drill does to Evenkeel itself: another way to a replica, a wall clock that is wrong.
//!
//! Each lasts as long as its call is open. The answer does not end, and is what holds it: a
//! caller that is killed has let go.

use super::Api;
use super::orders::{Body, owner, read};
use crate::error::ApiError;
use crate::ports::{ControlError, Held};
use crate::stream;
use crate::view::{ClockBody, DetourBody, ErrorBody};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use std::net::SocketAddr;

/// Bytes of a reason.
const WHY: usize = 200;
/// Farther than that no clock is wrong.
const YEAR_MS: u64 = 366 * 24 * 3_600_000;

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
    let why = short(&body.why);
    hold(&api, || api.state.control.detour(&name, to, &owner, &why))
}

/// Puts the wall clock of the gateway's process ahead or behind while this answer is open.
/// What is measured does not use it; what is written down and compared with other hosts does.
#[utoipa::path(post, path = "/api/v1/clock", tag = "orders",
    request_body(content = ClockBody),
    responses(
        (status = 200, description = "Held while it is read", body = String, content_type = "text/plain"),
        (status = 400, description = "More than a year, or nothing", body = ErrorBody),
        (status = 409, description = "It is wrong already", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(crate) async fn clock(State(api): State<Api>, body: Body) -> Result<Response, ApiError> {
    let body: ClockBody = read(body)?;
    if body.ahead_ms == 0 || body.ahead_ms.unsigned_abs() > YEAR_MS {
        return Err(ApiError::invalid(
            "the clock is not put that far",
            "give `ahead_ms`, up to a year; negative for behind",
        ));
    }
    let (owner, why) = (owner(body.owner)?, short(&body.why));
    hold(&api, || api.state.control.clock(body.ahead_ms, &owner, &why))
}

fn short(why: &str) -> String {
    why.chars().take(WHY).collect()
}

/// The place is taken first: what is begun must have an answer to last as long as.
fn hold(
    api: &Api,
    begin: impl FnOnce() -> Result<Held, ControlError>,
) -> Result<Response, ApiError> {
    let place = stream::place(api)?;
    let held = begin()?;
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
