//! Alerts: what is wrong, who was told, and what people order about it.

use super::Api;
use super::orders::{Answer, Body, Responses, duration, owner, read, run_on};
use crate::error::ApiError;
use crate::ports::Alerting;
use crate::view::{AlertsView, ErrorBody, HealBody, PastView, SilenceBody, TriedView, TryBody};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::IntoParams;

/// What happened without `limit=`.
const LIMIT: u32 = 100;
/// … and at most.
const MOST: u32 = 5_000;
/// A silence that is longer is forgotten by whoever ordered it.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Characters of a reason.
const REASON: usize = 300;
/// Labels that a silence asks for at most, and characters of each.
const LABELS: (usize, usize) = (16, 256);

fn alerting(api: &Api) -> Result<Arc<dyn Alerting>, ApiError> {
    let none = || ApiError::unavailable("alerting does not run here", "see the log of Evenkeel");
    api.state.alerts.clone().ok_or_else(none)
}

/// What is wrong now, who is told, and by which ways.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts",
    responses((status = 200, description = "Alerts", body = AlertsView),
        (status = 503, description = "Alerting does not run here", body = ErrorBody)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<AlertsView>, ApiError> {
    Ok(Json(alerting(&api)?.view()))
}

/// How much of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// At most so many; 100 by default.
    limit: Option<u32>,
}

/// What happened, newest first.
#[utoipa::path(get, path = "/api/v1/alerts/history", tag = "alerts", params(HistoryQuery),
    responses((status = 200, description = "Newest first", body = Vec<PastView>),
        (status = 503, description = "It cannot be read", body = ErrorBody)))]
pub(crate) async fn history(
    State(api): State<Api>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Vec<PastView>>, ApiError> {
    let Query(query) =
        query.map_err(|error| ApiError::invalid(error.body_text(), "`limit` is a number"))?;
    let limit = query.limit.unwrap_or(LIMIT).min(MOST);
    Ok(Json(alerting(&api)?.history(limit).await?))
}

/// Says that somebody looks after an alert (`all` for every one): nobody else is called.
#[utoipa::path(post, path = "/api/v1/alerts/{name}/ack", tag = "alerts",
    params(("name" = String, Path, description = "The alert's number, or `all`")),
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn ack(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Answer {
    let owner = owner(read::<HealBody>(body)?.owner)?;
    let alerting = alerting(&api)?;
    run_on(async move { alerting.acknowledge(&id, &owner).await }).await
}

/// Has nobody told of what matches, for a time.
#[utoipa::path(post, path = "/api/v1/silences", tag = "alerts",
    request_body(content = SilenceBody), responses(Responses))]
pub(crate) async fn silence(State(api): State<Api>, body: Body) -> Answer {
    let body: SilenceBody = read(body)?;
    let lasts = duration(&body.lasts)?;
    if lasts > LONGEST {
        return Err(ApiError::invalid("a silence lasts 30 days at most", "give a shorter `for`"));
    }
    let why = body.why.trim().to_owned();
    if why.is_empty() || why.chars().count() > REASON || why.chars().any(char::is_control) {
        let remedy = "say in up to 300 printable characters why nobody is to be told";
        return Err(ApiError::invalid("`why` is missing or cannot be shown", remedy));
    }
    let matching = labels(body.matching)?;
    let owner = owner(body.owner)?;
    tracing::info!(?matching, owner, why, ?lasts, "ordered: silence");
    let alerting = alerting(&api)?;
    run_on(async move { alerting.silence(matching, &owner, &why, lasts).await }).await
}

fn labels(asked: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    let (most, length) = LABELS;
    let fits =
        |text: &String| text.chars().count() <= length && !text.chars().any(char::is_control);
    if asked.is_empty() {
        let remedy = "name what is meant, as service=chat; alert=* for all";
        return Err(ApiError::invalid("a silence of nothing", remedy));
    }
    if asked.len() > most || !asked.iter().all(|(name, value)| fits(name) && fits(value)) {
        let remedy = "give up to 16 labels of up to 256 printable characters";
        return Err(ApiError::invalid("these labels cannot be kept", remedy));
    }
    Ok(asked)
}

/// Ends a silence.
#[utoipa::path(post, path = "/api/v1/silences/{name}/end", tag = "alerts",
    params(("name" = String, Path, description = "The silence's number")),
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn unsilence(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let owner = owner(read::<HealBody>(body)?.owner)?;
    let alerting = alerting(&api)?;
    run_on(async move { alerting.unsilence(&id, &owner).await }).await
}

/// Sends a real message through a channel, or through each, and says what came back.
#[utoipa::path(post, path = "/api/v1/alerts/test", tag = "alerts",
    request_body(content = Option<TryBody>),
    responses((status = 200, description = "By channel", body = Vec<TriedView>),
        (status = 404, description = "There is no such channel", body = ErrorBody),
        (status = 503, description = "Alerting does not run here", body = ErrorBody)))]
pub(crate) async fn test(
    State(api): State<Api>,
    body: Body,
) -> Result<Json<Vec<TriedView>>, ApiError> {
    let body: TryBody = read(body)?;
    Ok(Json(alerting(&api)?.test(body.channel).await?))
}
