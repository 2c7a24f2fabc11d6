//! Looking at files.

use super::caller::Caller;
use super::{Api, view};
use crate::content::READ;
use crate::error::ApiError;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use evenkeel_domain::durable::{BatchStore, File, FileId, FileQuery, StoreError};
use futures_util::stream;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Files in one answer: OpenAI's bound and default.
const LIST: usize = 10_000;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

/// A `limit` within bounds.
pub(crate) fn limit(given: Option<&str>, default: usize, max: usize) -> Result<usize, ApiError> {
    let Some(given) = given else { return Ok(default) };
    match given.parse::<usize>() {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => {
            let supported = format!("Expected a number from 1 to {max}.");
            Err(ApiError::wrong_value("limit", given, &supported))
        }
    }
}

/// A query that can be read.
pub(crate) fn readable<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let Query(query) = query.map_err(|rejected| {
        ApiError::invalid("invalid_query", format!("The query cannot be read: {rejected}"))
    })?;
    Ok(query)
}

pub(crate) async fn list(
    State(api): State<Api>,
    Caller(owner): Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let asked = readable(query)?;
    let ascending = match asked.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            let supported = "Supported values are: 'asc' and 'desc'.";
            return Err(ApiError::wrong_value("order", other, supported));
        }
    };
    let query = FileQuery {
        purpose: asked.purpose,
        after: asked.after.map(FileId::new),
        ascending,
        limit: limit(asked.limit.as_deref(), LIST, LIST)?,
    };
    let page = api.parts.store.files(&owner, &query, api.parts.now()).await;
    Ok(Json(view::list(&page.map_err(cursor)?, view::file)))
}

/// A cursor that names nothing is the caller's mistake, not a thing that is missing.
pub(crate) fn cursor(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound { id, .. } => {
            ApiError::wrong_value("after", &id, "It is not the id of something in this list.")
        }
        other => other.into(),
    }
}

pub(crate) async fn look(
    State(api): State<Api>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let file = api.parts.store.file(&owner, &FileId::new(id), api.parts.now()).await?;
    Ok(Json(view::file(&file)))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = FileId::new(id);
    api.parts.store.delete_file(&owner, &id, api.parts.now()).await?;
    Ok(Json(view::deleted(&id)))
}

pub(crate) async fn content(
    State(api): State<Api>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let file = api.parts.store.file(&owner, &FileId::new(id), api.parts.now()).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(file.bytes)),
        (header::CONTENT_DISPOSITION, disposition(&file.about.filename)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, Body::from_stream(read(api.parts.store, file))).into_response())
}

/// Its content as it is asked for. One that goes while it is read breaks the answer off: its
/// length was promised.
fn read(
    store: Arc<dyn BatchStore>,
    file: File,
) -> impl futures_util::Stream<Item = Result<Vec<u8>, StoreError>> + Send {
    stream::try_unfold((store, file, 0), async |(store, file, offset)| {
        if offset >= file.bytes {
            return Ok(None);
        }
        let part = store.read_file(&file.id, offset, READ).await?;
        if part.is_empty() {
            return Err(StoreError::no_file(&file.id));
        }
        let next = offset + part.len() as u64;
        Ok(Some((part, (store, file, next))))
    })
}

/// A file name that cannot end its header or leave its quotes.
fn disposition(filename: &str) -> HeaderValue {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let name: String = filename.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    let value = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    value.unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_bounds() {
        assert_eq!(limit(None, 20, 100), Ok(20));
        assert_eq!(limit(Some("100"), 20, 100), Ok(100));
        for wrong in ["0", "101", "-1", "ten", ""] {
            assert!(limit(Some(wrong), 20, 100).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_stays_within_its_header() {
        let shown = disposition("a\"b\r\nc/ü.jsonl");
        assert_eq!(shown.to_str().unwrap(), "attachment; filename=\"a_b__c__.jsonl\"");
    }
}
