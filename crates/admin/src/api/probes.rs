//! What machines ask, without a token.

use super::Api;
use crate::error::ApiError;
use crate::metrics;
use crate::snapshot;
use crate::view::Readiness;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

/// Says that the process runs, also while it drains.
#[utoipa::path(get, path = "/livez", tag = "probes", security(()),
    responses((status = 200, description = "It runs", body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Says whether traffic is taken.
#[utoipa::path(get, path = "/readyz", tag = "probes", security(()),
    responses(
        (status = 200, description = "Traffic is taken", body = Readiness),
        (status = 503, description = "It drains, or a core service has no open replica",
            body = Readiness)))]
pub(crate) async fn readyz(State(api): State<Api>) -> Response {
    let source = &*api.state.source;
    let readiness = snapshot::readiness(source, &source.gateway());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Metrics for Prometheus: OpenMetrics where that is asked for, else its older text format.
#[utoipa::path(get, path = "/metrics", tag = "probes", security(()),
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let text = metrics::open_metrics(&api.state).map_err(|_| {
        ApiError::unavailable("the metrics could not be written", "this is a fault of Evenkeel")
    })?;
    let accepts = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|accepted| accepted.contains(metrics::OPEN_METRICS))
    };
    if headers.get_all(header::ACCEPT).iter().any(accepts) {
        return Ok(([(header::CONTENT_TYPE, metrics::OPEN_METRICS_TYPE)], text).into_response());
    }
    let text = metrics::plain(&text);
    Ok(([(header::CONTENT_TYPE, metrics::PLAIN_TYPE)], text).into_response())
}
