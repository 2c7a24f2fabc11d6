//! Ordering batches and looking at them.

use super::caller::Caller;
use super::files::{cursor, limit, readable};
use super::order::Order;
use super::{Api, view};
use crate::error::ApiError;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use evenkeel_domain::durable::{BatchId, FileId, NewBatch, StoreError};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of an order: metadata at its longest fits in four times.
const BODY: usize = 256 << 10;
/// Batches in one answer, as OpenAI has it: by default, and at most.
const LIST: usize = 20;
const LIST_MAX: usize = 100;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<String>,
}

pub(crate) async fn create(
    State(api): State<Api>,
    Caller(owner): Caller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body = Limited::new(body, BODY).collect().await;
    let body = body.map_err(|_| ApiError::body_too_large(BODY))?.to_bytes();
    let order = Order::read(&body, |path| api.parts.execute.accepts(path))?;
    let now = api.parts.now();
    let window = u64::try_from(api.parts.settings.window.as_millis()).unwrap_or(u64::MAX);
    let order = NewBatch {
        owner,
        endpoint: order.endpoint,
        input: FileId::new(order.input),
        completion_window: order.completion_window,
        metadata: order.metadata,
        output_expires_after: order.output_expires_after,
        created_at: now,
        expires_at: now.saturating_add(window),
    };
    let batch = match api.parts.store.create_batch(&order).await {
        Err(StoreError::NotFound { id, .. }) => {
            let supported = "It is not the id of a file of yours with purpose 'batch'.";
            return Err(ApiError::wrong_value("input_file_id", &id, supported));
        }
        made => made?,
    };
    api.parts.wake.notify_one();
    Ok(Json(view::batch(&batch)))
}

pub(crate) async fn list(
    State(api): State<Api>,
    Caller(owner): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let asked = readable(query)?;
    let limit = limit(asked.limit.as_deref(), LIST, LIST_MAX)?;
    let after = asked.after.map(BatchId::new);
    let page = api.parts.store.batches(&owner, after.as_ref(), limit).await;
    Ok(Json(view::list(&page.map_err(cursor)?, view::batch)))
}

pub(crate) async fn look(
    State(api): State<Api>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let batch = api.parts.store.batch(&owner, &BatchId::new(id)).await?;
    Ok(Json(view::batch(&batch)))
}

pub(crate) async fn cancel(
    State(api): State<Api>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = BatchId::new(id);
    let batch = api.parts.store.cancel_batch(&owner, &id, api.parts.now()).await?;
    api.parts.wake.notify_one();
    Ok(Json(view::batch(&batch)))
}
