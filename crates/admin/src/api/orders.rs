//! What is ordered. An order runs as a task of its own: one that is half done must not end
//! because its caller left.

use super::Api;
use crate::binary;
use crate::error::ApiError;
use crate::ports::{Control, ControlError};
use crate::view::{Accepted, DegradeBody, ErrorBody, OrderBody, ScaleBody, UpgradeBody};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use evenkeel_domain::answers::LEVEL_MAX;
use evenkeel_domain::job::JobOrder;
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Characters of an owner.
const OWNER: usize = 64;
/// Who orders, when the caller does not say.
const NOBODY: &str = "api";

pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Answer = Result<(StatusCode, Json<Accepted>), ApiError>;

/// What an order may be answered with, for the OpenAPI document.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum Responses {
    /// The order was taken
    #[response(status = 202)]
    Accepted(Accepted),
    /// The order makes no sense
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// Without a token: the call does not come from this machine, or from a page
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// There is no such thing
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// It cannot be done in the present state
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// Nobody is there to do it
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// Sends nothing new to a replica; what runs may finish.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/drain", tag = "orders",
    params(("name" = String, Path, description = "The replica")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn drain(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    replica(api, Verb::Drain, name, body).await
}

/// Ends whatever an operator has ordered for a replica.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/undrain", tag = "orders",
    params(("name" = String, Path, description = "The replica")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn undrain(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    replica(api, Verb::Undrain, name, body).await
}

/// Takes a replica out at once; what runs is moved.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/isolate", tag = "orders",
    params(("name" = String, Path, description = "The replica")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn isolate(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    replica(api, Verb::Isolate, name, body).await
}

/// Restarts a supervised replica.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/restart", tag = "orders",
    params(("name" = String, Path, description = "The replica")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn restart(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    replica(api, Verb::Restart, name, body).await
}

/// Has a standby take over, until it is sent back.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/promote", tag = "orders",
    params(("name" = String, Path, description = "The standby")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn promote(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    standby(api, name, true, body).await
}

/// Sends a promoted standby back; what it has begun it ends.
#[utoipa::path(post, path = "/api/v1/replicas/{name}/demote", tag = "orders",
    params(("name" = String, Path, description = "The standby")),
    request_body(content = Option<OrderBody>), responses(Responses))]
pub(crate) async fn demote(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    standby(api, name, false, body).await
}

async fn standby(api: Api, name: String, promote: bool, body: Body) -> Answer {
    let body: OrderBody = read(body)?;
    if body.lasts.is_some() {
        return Err(ApiError::invalid("this order has no end of its own", "leave `for` out"));
    }
    let owner = owner(body.owner)?;
    tracing::info!(replica = name, promote, owner, "ordered: standby");
    run(api, move |control| async move { control.standby(&name, promote, &owner).await }).await
}

/// Restarts the supervised replicas of a service, one after another.
#[utoipa::path(post, path = "/api/v1/services/{name}/restart", tag = "orders",
    params(("name" = String, Path, description = "The service")), responses(Responses))]
pub(crate) async fn restart_service(State(api): State<Api>, Path(name): Path<String>) -> Answer {
    tracing::info!(service = name, "ordered: rolling restart");
    run(api, |control| async move { control.restart_service(&name).await }).await
}

/// Has a service do less, or leaves that to what is measured.
#[utoipa::path(post, path = "/api/v1/services/{name}/degrade", tag = "orders",
    params(("name" = String, Path, description = "The service")),
    request_body(content = Option<DegradeBody>), responses(Responses))]
pub(crate) async fn degrade(
    State(api): State<Api>,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let body: DegradeBody = read(body)?;
    if body.level.is_some_and(|level| level > LEVEL_MAX) {
        let text = format!("there is no level above {LEVEL_MAX}");
        return Err(ApiError::invalid(text, "0 does everything; leave `level` out for automatic"));
    }
    let lasts = body.lasts.as_deref().map(duration).transpose()?;
    let (level, owner) = (body.level, owner(body.owner)?);
    tracing::info!(service = name, ?level, owner, ?lasts, "ordered: degrade");
    run(api, move |control| async move { control.degrade(&name, level, &owner, lasts).await }).await
}

/// Has so many copies of a scaled service run, or leaves that to what is measured.
#[utoipa::path(post, path = "/api/v1/services/{name}/scale", tag = "orders",
    params(("name" = String, Path, description = "The service")),
    request_body(content = Option<ScaleBody>), responses(Responses))]
pub(crate) async fn scale(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    let body: ScaleBody = read(body)?;
    let lasts = body.lasts.as_deref().map(duration).transpose()?;
    let (copies, owner) = (body.copies, owner(body.owner)?);
    tracing::info!(service = name, ?copies, owner, ?lasts, "ordered: scale");
    run(api, move |control| async move { control.scale(&name, copies, &owner, lasts).await }).await
}

/// Starts a job (again) from its last good checkpoint; what counted against it is forgotten.
#[utoipa::path(post, path = "/api/v1/jobs/{name}/restart", tag = "orders",
    params(("name" = String, Path, description = "The job")), responses(Responses))]
pub(crate) async fn job_restart(State(api): State<Api>, Path(name): Path<String>) -> Answer {
    tracing::info!(job = name, "ordered: restart of a job");
    run(api, |control| async move { control.job(&name, JobOrder::Restart).await }).await
}

/// Stops a job until it is restarted.
#[utoipa::path(post, path = "/api/v1/jobs/{name}/stop", tag = "orders",
    params(("name" = String, Path, description = "The job")), responses(Responses))]
pub(crate) async fn job_stop(State(api): State<Api>, Path(name): Path<String>) -> Answer {
    tracing::info!(job = name, "ordered: stop of a job");
    run(api, |control| async move { control.job(&name, JobOrder::Stop).await }).await
}

/// Reads the configuration again. A bad one changes nothing.
#[utoipa::path(post, path = "/api/v1/reload", tag = "orders", responses(Responses))]
pub(crate) async fn reload(State(api): State<Api>) -> Answer {
    tracing::info!("ordered: reload");
    run(api, |control| async move { control.reload().await }).await
}

/// Replaces the running program and drains the old one. While no token is set, the program
/// must be one that only root and the server's own user may change.
#[utoipa::path(post, path = "/api/v1/upgrade", tag = "orders",
    request_body(content = Option<UpgradeBody>), responses(Responses))]
pub(crate) async fn upgrade(State(api): State<Api>, body: Body) -> Answer {
    let body: UpgradeBody = read(body)?;
    let trusted = |path: String| match &api.state.token {
        Some(_) => Ok(PathBuf::from(path)),
        None => binary::trusted(&path),
    };
    let binary = body.binary.map(trusted).transpose()?;
    tracing::info!(?binary, "ordered: upgrade");
    run(api, |control| async move { control.upgrade(binary).await }).await
}

/// Drains and ends everything.
#[utoipa::path(post, path = "/api/v1/stop", tag = "orders", responses(Responses))]
pub(crate) async fn stop(State(api): State<Api>) -> Answer {
    tracing::info!("ordered: stop");
    run(api, |control| async move { control.stop().await }).await
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Drain,
    Undrain,
    Isolate,
    Restart,
}

async fn replica(api: Api, verb: Verb, name: String, body: Body) -> Answer {
    let body: OrderBody = read(body)?;
    let lasts = body.lasts.as_deref().map(duration).transpose()?;
    if lasts.is_some() && matches!(verb, Verb::Undrain | Verb::Restart) {
        return Err(ApiError::invalid("this order has no end", "leave out `for`"));
    }
    let owner = owner(body.owner)?;
    tracing::info!(replica = name, owner, ?lasts, "ordered: {verb:?}");
    run(api, move |control| async move {
        match verb {
            Verb::Drain => control.drain(&name, &owner, lasts).await,
            Verb::Undrain => control.undrain(&name).await,
            Verb::Isolate => control.isolate(&name, &owner, lasts).await,
            Verb::Restart => control.restart(&name).await,
        }
    })
    .await
}

async fn run<F>(api: Api, order: impl FnOnce(Arc<dyn Control>) -> F) -> Answer
where
    F: Future<Output = Result<(), ControlError>> + Send + 'static,
{
    run_on(order(api.state.control.clone())).await
}

/// Runs an order to its end, whether its caller stays or leaves.
pub(super) async fn run_on(
    order: impl Future<Output = Result<(), ControlError>> + Send + 'static,
) -> Answer {
    match tokio::spawn(order).await {
        Ok(Ok(())) => Ok((StatusCode::ACCEPTED, Json(Accepted { accepted: true }))),
        Ok(Err(refused)) => Err(refused.into()),
        Err(_) => Err(ApiError::unavailable(
            "the order broke off",
            "see the log of Evenkeel, then try again",
        )),
    }
}

/// A body that may be left out.
pub(super) fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, ApiError> {
    let body = body.map_err(|error| {
        ApiError::new(error.status(), "invalid", error.body_text(), "send a short JSON body")
    })?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| {
        let remedy = "see GET /api/v1/openapi.json";
        ApiError::invalid(format!("the body cannot be read: {error}"), remedy)
    })
}

pub(super) fn duration(text: &str) -> Result<Duration, ApiError> {
    let remedy = "write a time like \"30m\" or \"2h\"";
    match humantime::parse_duration(text) {
        Ok(lasts) if lasts.is_zero() => Err(ApiError::invalid("`for` is no time at all", remedy)),
        Ok(lasts) => Ok(lasts),
        Err(error) => Err(ApiError::invalid(format!("`for` cannot be read: {error}"), remedy)),
    }
}

/// Owners are shown in logs and on terminals: nothing there may be steered by them.
pub(super) fn owner(owner: String) -> Result<String, ApiError> {
    let owner = if owner.trim().is_empty() { NOBODY.to_owned() } else { owner };
    if owner.chars().count() > OWNER || owner.chars().any(char::is_control) {
        return Err(ApiError::invalid(
            "`owner` is too long or holds control characters",
            "give a name of up to 64 printable characters",
        ));
    }
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        assert!(duration("30m").is_ok());
        for text in ["", "soon", "0s", "-1m"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(owner(" ".into()).unwrap(), NOBODY);
        assert!(owner("a\x1b[2J".into()).is_err() && owner("x".repeat(65)).is_err());
        let body = |text: &'static str| read::<OrderBody>(Ok(Bytes::from_static(text.as_bytes())));
        assert_eq!(body("").unwrap(), OrderBody::default());
        assert_eq!(body(r#"{"for":"1m"}"#).unwrap().lasts.as_deref(), Some("1m"));
        assert!(body(r#"{"fro":"1m"}"#).is_err() && body("[").is_err());
    }
}
