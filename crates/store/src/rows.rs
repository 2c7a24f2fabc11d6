//! Rows, and what they mean.

use crate::error::Fault;
use evenkeel_domain::durable::{
    Answer, Batch, BatchId, BatchStatus, Counts, File, FileAbout, FileId, InputError, LineResult,
    NewBatch, Owner, Times, Tokens,
};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// State of a file that is not whole.
pub(crate) const COMING: i64 = 0;
/// State of a file that is there.
pub(crate) const THERE: i64 = 1;
/// State of a file whose content is to be freed.
pub(crate) const GONE: i64 = 2;

/// SQLite's integers are signed; no count or time comes near to where that matters.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn owner(name: &str) -> Result<Owner, Fault> {
    Owner::new(name).ok_or_else(|| Fault::corrupt(format!("the store names an owner {name:?}")))
}

pub(crate) fn file(row: &SqliteRow) -> Result<File, Fault> {
    Ok(File {
        id: FileId::new(row.try_get::<String, _>("id")?),
        owner: owner(row.try_get("owner")?)?,
        about: FileAbout {
            filename: row.try_get("filename")?,
            purpose: row.try_get("purpose")?,
            expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(unsigned),
        },
        bytes: unsigned(row.try_get("bytes")?),
        created_at: unsigned(row.try_get("created_at")?),
    })
}

/// An [`InputError`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Wrong {
    code: String,
    message: String,
    param: Option<String>,
    line: Option<u32>,
}

pub(crate) fn errors_text(errors: &[InputError]) -> Result<String, Fault> {
    let kept = errors.iter().cloned();
    let kept: Vec<Wrong> = kept
        .map(|InputError { code, message, param, line }| Wrong { code, message, param, line })
        .collect();
    serde_json::to_string(&kept).map_err(unreadable)
}

fn errors(text: &str) -> Result<Vec<InputError>, Fault> {
    let kept: Vec<Wrong> = serde_json::from_str(text).map_err(unreadable)?;
    let kept = kept.into_iter();
    Ok(kept
        .map(|Wrong { code, message, param, line }| InputError { code, message, param, line })
        .collect())
}

pub(crate) fn metadata_text(order: &NewBatch) -> Result<Option<String>, Fault> {
    order.metadata.as_ref().map(|all| serde_json::to_string(all).map_err(unreadable)).transpose()
}

fn unreadable(error: serde_json::Error) -> Fault {
    Fault::corrupt(format!("the store holds text that is not what it should be: {error}"))
}

pub(crate) fn status(label: &str) -> Result<BatchStatus, Fault> {
    BatchStatus::parse(label).ok_or_else(|| Fault::corrupt(format!("a batch is {label:?}")))
}

fn order(row: &SqliteRow) -> Result<NewBatch, Fault> {
    let metadata: Option<String> = row.try_get("metadata")?;
    let metadata = metadata.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
    Ok(NewBatch {
        owner: owner(row.try_get("owner")?)?,
        endpoint: row.try_get("endpoint")?,
        input: FileId::new(row.try_get::<String, _>("input")?),
        completion_window: row.try_get("window")?,
        metadata,
        output_expires_after: row.try_get::<Option<i64>, _>("output_ttl")?.map(unsigned),
        created_at: unsigned(row.try_get("created_at")?),
        expires_at: unsigned(row.try_get("expires_at")?),
    })
}

pub(crate) fn tokens(row: &SqliteRow) -> Result<Tokens, Fault> {
    Ok(Tokens {
        input: unsigned(row.try_get("input_tokens")?),
        cached: unsigned(row.try_get("cached_tokens")?),
        output: unsigned(row.try_get("output_tokens")?),
        reasoning: unsigned(row.try_get("reasoning_tokens")?),
    })
}

pub(crate) fn batch(row: &SqliteRow) -> Result<Batch, Fault> {
    let at = |column| row.try_get::<Option<i64>, _>(column).map(|at| at.map(unsigned));
    let file = |column| row.try_get::<Option<String>, _>(column).map(|id| id.map(FileId::new));
    let wrong: Option<String> = row.try_get("errors")?;
    let order = order(row)?;
    Ok(Batch {
        id: BatchId::new(row.try_get::<String, _>("id")?),
        status: status(row.try_get("status")?)?,
        times: Times {
            created: order.created_at,
            expires: order.expires_at,
            in_progress: at("in_progress_at")?,
            finalizing: at("finalizing_at")?,
            completed: at("completed_at")?,
            failed: at("failed_at")?,
            expired: at("expired_at")?,
            cancelling: at("cancelling_at")?,
            cancelled: at("cancelled_at")?,
        },
        counts: Counts {
            total: count(row.try_get("total")?),
            completed: count(row.try_get("completed")?),
            failed: count(row.try_get("failed")?),
        },
        tokens: tokens(row)?,
        model: row.try_get("model")?,
        errors: wrong.as_deref().map(errors).transpose()?.unwrap_or_default(),
        output_file: file("output_file")?,
        error_file: file("error_file")?,
        order,
    })
}

/// An answer whose body was opened.
pub(crate) fn answer(row: &SqliteRow, body: Vec<u8>) -> Result<Answer, Fault> {
    let result = match row.try_get::<Option<i64>, _>("status")? {
        Some(status) => LineResult::Response { status: u16::try_from(status).unwrap_or(500), body },
        None => LineResult::Error {
            code: row.try_get::<Option<String>, _>("code")?.unwrap_or_default(),
            message: String::from_utf8_lossy(&body).into_owned(),
        },
    };
    let index = count(row.try_get("idx")?);
    Ok(Answer { index, request_id: row.try_get("request_id")?, result, tokens: tokens(row)? })
}
