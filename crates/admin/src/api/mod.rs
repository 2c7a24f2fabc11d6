//! The routes. One file each for what reads, what orders and what probes ask.

mod alerts;
mod held;
pub(crate) mod openapi;
mod orders;
mod probes;
mod read;
mod recovery;

use crate::error::ApiError;
use crate::guard;
use crate::ports::AdminState;
use crate::stream::Stop;
use crate::window::Window;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use http::StatusCode;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Bytes of a request's body: orders are short.
const BODY: usize = 16 << 10;
/// Streams open at once: each operator and dashboard has one or two.
const STREAMS: usize = 64;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) state: Arc<AdminState>,
    pub(crate) window: Arc<Window>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stop: Stop,
}

impl Api {
    pub(crate) fn new(state: Arc<AdminState>, window: Arc<Window>, stop: Stop) -> Self {
        Self { state, window, streams: Arc::new(Semaphore::new(STREAMS)), stop }
    }
}

/// All routes, guarded and bounded.
pub(crate) fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/api/v1/snapshot", get(read::snapshot))
        .route("/api/v1/events", get(read::events))
        .route("/api/v1/slo", get(read::slo))
        .route("/api/v1/logs/{name}", get(read::logs))
        .route("/api/v1/openapi.json", get(openapi::serve))
        .route("/api/v1/replicas/{name}/drain", post(orders::drain))
        .route("/api/v1/replicas/{name}/undrain", post(orders::undrain))
        .route("/api/v1/replicas/{name}/isolate", post(orders::isolate))
        .route("/api/v1/replicas/{name}/restart", post(orders::restart))
        .route("/api/v1/replicas/{name}/detour", post(held::detour))
        .route("/api/v1/replicas/{name}/promote", post(orders::promote))
        .route("/api/v1/replicas/{name}/demote", post(orders::demote))
        .route("/api/v1/services/{name}/restart", post(orders::restart_service))
        .route("/api/v1/services/{name}/degrade", post(orders::degrade))
        .route("/api/v1/services/{name}/scale", post(orders::scale))
        .route("/api/v1/jobs/{name}/restart", post(orders::job_restart))
        .route("/api/v1/jobs/{name}/stop", post(orders::job_stop))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/history", get(alerts::history))
        .route("/api/v1/alerts/test", post(alerts::test))
        .route("/api/v1/alerts/{name}/ack", post(alerts::ack))
        .route("/api/v1/silences", post(alerts::silence))
        .route("/api/v1/silences/{name}/end", post(alerts::unsilence))
        .route("/api/v1/incidents", get(recovery::list))
        .route("/api/v1/incidents/{id}", get(recovery::show))
        .route("/api/v1/incidents/{id}/approve", post(recovery::approve))
        .route("/api/v1/incidents/{id}/force", post(recovery::force))
        .route("/api/v1/incidents/{id}/undo", post(recovery::undo))
        .route("/api/v1/replicas/{name}/why", get(recovery::why))
        .route("/api/v1/replicas/{name}/plan", get(recovery::plan))
        .route("/api/v1/pause", post(recovery::pause))
        .route("/api/v1/resume", post(recovery::resume))
        .route("/api/v1/storm/reset", post(recovery::reset_storm))
        .route("/api/v1/clock", post(held::clock))
        .route("/api/v1/reload", post(orders::reload))
        .route("/api/v1/upgrade", post(orders::upgrade))
        .route("/api/v1/stop", post(orders::stop))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .layer(from_fn_with_state(api.state.clone(), guard::admit));
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(guard::bound))
        .with_state(api)
}

async fn nothing_here() -> ApiError {
    ApiError::not_found("there is nothing here", "see GET /api/v1/openapi.json")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path has another method",
        "see GET /api/v1/openapi.json",
    )
}
