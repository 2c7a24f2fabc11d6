//! What is read: the snapshot, events, logs.

use super::Api;
use crate::error::ApiError;
use crate::ports::Source;
use crate::snapshot;
use crate::stream::{self, joined};
use crate::view::{ErrorBody, SloView, Snapshot};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use evenkeel_domain::event::Event;
use http::{HeaderMap, header};
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use utoipa::IntoParams;

/// Lines of a log without `lines=`.
const LINES: usize = 100;
/// Lines of a log at most: with the longest ones still a bounded answer.
const MOST_LINES: usize = 10_000;

/// Everything at one moment.
#[utoipa::path(get, path = "/api/v1/snapshot", tag = "read",
    responses((status = 200, description = "Everything at one moment", body = Snapshot)))]
pub(crate) async fn snapshot(State(api): State<Api>) -> Json<Snapshot> {
    Json(snapshot::take(&api.state, &api.window))
}

/// What services promised and kept: availability, error budgets, burn rates, incidents.
#[utoipa::path(get, path = "/api/v1/slo", tag = "read",
    responses(
        (status = 200, description = "By service", body = SloView),
        (status = 404, description = "No account is kept here", body = ErrorBody)))]
pub(crate) async fn slo(State(api): State<Api>) -> Result<Json<SloView>, ApiError> {
    api.state.source.slo().map(Json).ok_or_else(|| {
        ApiError::not_found("no account of availability is kept here", "ask `evenkeel up`")
    })
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Cursor: only events after it. `Last-Event-ID` goes before it.
    after: u64,
    /// Whether to go on with events as they come, as server-sent events.
    follow: bool,
}

/// What happened after a cursor, oldest first; with `follow`, also what happens from now
/// on, as server-sent events whose ids are cursors. Some thousands are kept. Cursors begin
/// anew with the process: one that is ahead of the newest event counts as 0.
#[utoipa::path(get, path = "/api/v1/events", tag = "read", params(EventsQuery),
    responses(
        (status = 200, description = "Events; each has `seq`, `at_unix_ms` and `event`",
            content((Vec<Object> = "application/json"), (String = "text/event-stream"))),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(crate) async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = readable(query)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let cursor = stream::resume(&api.state.events, last.unwrap_or(query.after));
    if !query.follow {
        let events: Vec<Event> = api.state.events.after(cursor);
        return Ok(Json(events).into_response());
    }
    let place = stream::place(&api)?;
    let body = stream::events(api.state.events.clone(), cursor, api.stop.clone(), place);
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// Which lines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// How many of the last lines, up to 10000; 100 when left out.
    lines: Option<usize>,
    /// Whether to go on with lines as they come.
    follow: bool,
}

/// The last lines that a supervised replica wrote.
#[utoipa::path(get, path = "/api/v1/logs/{name}", tag = "read",
    params(("name" = String, Path, description = "The replica"), LogsQuery),
    responses(
        (status = 200, description = "Lines", body = String, content_type = "text/plain"),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody),
        (status = 404, description = "No such replica, or no log of it", body = ErrorBody),
        (status = 503, description = "Too many streams", body = ErrorBody)))]
pub(crate) async fn logs(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = readable(query)?;
    has_log(&*api.state.source, &name)?;
    let lines = query.lines.unwrap_or(LINES).min(MOST_LINES);
    let source = api.state.source.clone();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        // What a model server prints may look like a page.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    if !query.follow {
        let lines = blocking(source, name, move |source, name| source.tail(name, lines)).await?;
        return Ok((headers, joined(&lines)).into_response());
    }
    let place = stream::place(&api)?;
    let (first, follow) = blocking(source, name, move |source, name| {
        // Following begins first: a line written in between comes twice rather than never.
        let follow = source.follow(name)?;
        let first = match source.tail(name, lines) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        Ok((first, follow))
    })
    .await?;
    Ok((headers, stream::lines(first, follow, api.stop.clone(), place)).into_response())
}

/// Only names that are known are looked up: a name becomes a path.
fn has_log(source: &dyn Source, name: &str) -> Result<(), ApiError> {
    let supervised = source.instances().iter().any(|instance| instance.name == name)
        || source.jobs().iter().any(|job| job.name == name);
    if supervised && source.log_path(name).is_some() {
        return Ok(());
    }
    let known = supervised
        || source
            .services()
            .iter()
            .any(|(_, pool)| pool.members().iter().any(|replica| *replica.id.name == *name));
    Err(if known {
        ApiError::not_found(
            format!("Evenkeel does not run {name}, so it has no log of it"),
            "look for its log where it runs",
        )
    } else {
        unknown_replica(name)
    })
}

fn unknown_replica(name: &str) -> ApiError {
    ApiError::not_found(format!("no replica is named {name:?}"), "`evenkeel status` lists them")
}

async fn blocking<T: Send + 'static>(
    source: Arc<dyn Source>,
    name: String,
    read: impl FnOnce(&dyn Source, &str) -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let about = name.clone();
    let read = tokio::task::spawn_blocking(move || read(&*source, &name)).await;
    let error = match read {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error,
        Err(_) => io::Error::other("reading it was broken off"),
    };
    Err(if error.kind() == io::ErrorKind::NotFound {
        ApiError::not_found(format!("{about} has written nothing yet"), "follow it, or wait")
    } else {
        ApiError::unavailable(
            format!("the log of {about} cannot be read: {error}"),
            "check the log directory",
        )
    })
}

fn readable<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|error| ApiError::invalid(error.body_text(), "see GET /api/v1/openapi.json"))
}
