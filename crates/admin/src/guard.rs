//! Who may do what, decided before any handler runs.
//!
//! With a token, the token decides. Without one the API is on loopback, where the danger
//! is a page in this machine's own browser: it can send requests here, and by giving its
//! own name this address (DNS rebinding) read the answers too. Such a request still
//! carries that page's name in `host`, and its origin in `origin`.

use crate::error::ApiError;
use crate::ports::AdminState;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use evenkeel_domain::replica::Secret;
use http::{HeaderMap, Method, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long a handler may take, reading the request's body included; the body of its
/// answer is not.
const HANDLER: Duration = Duration::from_secs(60);

/// Refuses who may not.
pub(crate) async fn admit(
    State(state): State<Arc<AdminState>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = match &state.token {
        Some(token) => bearer(token, request.headers()),
        None => from_this_host(&state.hosts, &request),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Ends handlers that take too long.
pub(crate) async fn bound(request: Request, next: Next) -> Response {
    tokio::time::timeout(HANDLER, next.run(request)).await.unwrap_or_else(|_| {
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "no answer within 60 s; what was ordered may still go on",
            "see `evenkeel status`, then try again",
        )
        .into_response()
    })
}

fn bearer(token: &Secret, headers: &HeaderMap) -> Result<(), ApiError> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
    });
    // Its length may show in the time this takes; nothing else of it does.
    if shown.is_some_and(|shown| token.expose().as_bytes().ct_eq(shown).into()) {
        return Ok(());
    }
    let what =
        if shown.is_some() { "this token is not the right one" } else { "a token is needed" };
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        what,
        "send `Authorization: Bearer` with the token that the server's configuration names",
    ))
}

fn from_this_host(hosts: &[String], request: &Request) -> Result<(), ApiError> {
    let named = request
        .uri()
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| request.headers().get(header::HOST)?.to_str().ok())
        .unwrap_or_default();
    if !is_ours(hosts, named) {
        return Err(ApiError::forbidden(
            "the request's `host` is not this machine",
            "call the API at 127.0.0.1 or localhost, or set a token",
        ));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::forbidden(
            "pages in browsers may not give orders while no token is set",
            "use the command line, or set a token",
        ));
    }
    Ok(())
}

/// Whether a `host` header names this machine: a loopback address, `localhost`, or a name
/// of the configuration.
fn is_ours(hosts: &[String], named: &str) -> bool {
    let name = without_port(named);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_ours() {
        let hosts = ["ops.internal".to_owned()];
        for ours in ["127.0.0.1", "127.0.0.1:9900", "[::1]:9900", "[::1]", "LocalHost:1"] {
            assert!(is_ours(&hosts, ours), "{ours}");
        }
        assert!(is_ours(&hosts, "ops.internal:9900"));
        for other in
            ["", ":9900", "evil.example", "evil.example:9900", "localhost.evil", "10.0.0.1"]
        {
            assert!(!is_ours(&hosts, other), "{other}");
        }
    }

    #[test]
    fn a_token_must_be_whole() {
        let token = Secret::new("s3cret".into());
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&token, &headers).is_ok()
        };
        assert!(with("Bearer s3cret") && with("bearer  s3cret"));
        for wrong in ["Bearer s3cre", "Bearer s3cret1", "Bearer", "Basic s3cret", "s3cret", ""] {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(bearer(&token, &HeaderMap::new()).is_err());
    }
}
