//! Incidents: what is wrong, why, what was done; and what people order about it.

use super::Api;
use super::orders::{Answer, Body, Responses, duration, owner, read, run_on};
use crate::error::ApiError;
use crate::ports::Healing;
use crate::view::{
    ErrorBody, HealBody, IncidentDetail, IncidentView, PauseBody, PlanView, WhyView,
};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::IntoParams;

/// Incidents without `limit=`.
const LIMIT: u32 = 50;
/// Incidents at most.
const MOST: u32 = 1000;
/// A pause that is longer is forgotten by whoever ordered it.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of a reason.
const REASON: usize = 300;

fn healing(api: &Api) -> Result<Arc<dyn Healing>, ApiError> {
    let none = || ApiError::unavailable("recovery does not run here", "see the log of Evenkeel");
    api.state.recovery.clone().ok_or_else(none)
}

/// Which incidents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncidentsQuery {
    /// At most so many; 50 by default.
    limit: Option<u32>,
}

/// The newest incidents, those that are over included.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(IncidentsQuery),
    responses((status = 200, description = "Newest first", body = Vec<IncidentView>),
        (status = 503, description = "The journal cannot be read", body = ErrorBody)))]
pub(crate) async fn list(
    State(api): State<Api>,
    query: Result<Query<IncidentsQuery>, QueryRejection>,
) -> Result<Json<Vec<IncidentView>>, ApiError> {
    let Query(query) =
        query.map_err(|error| ApiError::invalid(error.body_text(), "`limit` is a number"))?;
    let limit = query.limit.unwrap_or(LIMIT).min(MOST);
    Ok(Json(healing(&api)?.incidents(limit).await?))
}

/// One incident with all that was written down about it.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, description = "The incident")),
    responses((status = 200, body = IncidentDetail, description = "The incident"),
        (status = 404, description = "There is no such incident", body = ErrorBody),
        (status = 503, description = "The journal cannot be read", body = ErrorBody)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<IncidentDetail>, ApiError> {
    Ok(Json(healing(&api)?.incident(&id).await?))
}

/// Why a replica is in its state, what was done about it, what to do next.
#[utoipa::path(get, path = "/api/v1/replicas/{name}/why", tag = "incidents",
    params(("name" = String, Path, description = "The replica")),
    responses((status = 200, body = WhyView, description = "Why"),
        (status = 404, description = "There is no such replica", body = ErrorBody)))]
pub(crate) async fn why(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<WhyView>, ApiError> {
    Ok(Json(healing(&api)?.why(&name).await?))
}

/// What would be done about a replica now; nothing of it is.
#[utoipa::path(get, path = "/api/v1/replicas/{name}/plan", tag = "incidents",
    params(("name" = String, Path, description = "The replica")),
    responses((status = 200, body = PlanView, description = "The plan"),
        (status = 404, description = "There is no such replica", body = ErrorBody)))]
pub(crate) async fn plan(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<PlanView>, ApiError> {
    Ok(Json(healing(&api)?.plan(&name).await?))
}

/// Has nothing done about a replica, a service or all for a time.
#[utoipa::path(post, path = "/api/v1/pause", tag = "incidents",
    request_body(content = PauseBody), responses(Responses))]
pub(crate) async fn pause(State(api): State<Api>, body: Body) -> Answer {
    let body: PauseBody = read(body)?;
    let lasts = duration(&body.lasts)?;
    if lasts > LONGEST {
        return Err(ApiError::invalid("a pause lasts a week at most", "give a shorter `for`"));
    }
    let why = body.why.trim().to_owned();
    if why.is_empty() || why.chars().count() > REASON || why.chars().any(char::is_control) {
        let remedy = "say in up to 300 printable characters why nothing is to be done";
        return Err(ApiError::invalid("`why` is missing or cannot be shown", remedy));
    }
    let (owner, target) = (owner(body.owner)?, target(body.target));
    tracing::info!(target, owner, why, ?lasts, "ordered: pause");
    let healing = healing(&api)?;
    run_on(async move { healing.pause(&target, &owner, &why, lasts).await }).await
}

fn target(name: String) -> String {
    if name.is_empty() { "all".into() } else { name }
}

/// Ends a pause.
#[utoipa::path(post, path = "/api/v1/resume", tag = "incidents",
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn resume(State(api): State<Api>, body: Body) -> Answer {
    let body: HealBody = read(body)?;
    let (owner, target) = (owner(body.owner)?, target(body.target));
    let healing = healing(&api)?;
    run_on(async move { healing.resume(&target, &owner).await }).await
}

/// Goes on with an incident that waits for a person.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/approve", tag = "incidents",
    params(("id" = String, Path, description = "The incident")),
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn approve(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Answer {
    let owner = owner(read::<HealBody>(body)?.owner)?;
    let healing = healing(&api)?;
    run_on(async move { healing.approve(&id, &owner).await }).await
}

/// Does a step now, whatever the limits say.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/force", tag = "incidents",
    params(("id" = String, Path, description = "The incident")),
    request_body(content = HealBody), responses(Responses))]
pub(crate) async fn force(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Answer {
    let body: HealBody = read(body)?;
    let (owner, step) = (owner(body.owner)?, body.step);
    let healing = healing(&api)?;
    run_on(async move { healing.force(&id, &step, &owner).await }).await
}

/// Ends what the steps of an incident keep in force: copies, a service that stands in.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/undo", tag = "incidents",
    params(("id" = String, Path, description = "The incident")),
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn undo(State(api): State<Api>, Path(id): Path<String>, body: Body) -> Answer {
    let owner = owner(read::<HealBody>(body)?.owner)?;
    let healing = healing(&api)?;
    run_on(async move { healing.undo(&id, &owner).await }).await
}

/// Ends the storm stop.
#[utoipa::path(post, path = "/api/v1/storm/reset", tag = "incidents",
    request_body(content = Option<HealBody>), responses(Responses))]
pub(crate) async fn reset_storm(State(api): State<Api>, body: Body) -> Answer {
    let owner = owner(read::<HealBody>(body)?.owner)?;
    let healing = healing(&api)?;
    run_on(async move { healing.reset_storm(&owner).await }).await
}
