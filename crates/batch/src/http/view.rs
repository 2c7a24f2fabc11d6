//! Objects as OpenAI's API shows them. Times are seconds there.

use evenkeel_domain::durable::{Batch, File, FileId, InputError, Millis, Page, Tokens};
use serde_json::{Value, json};

fn seconds(at: Millis) -> u64 {
    at / 1000
}

pub(crate) fn file(file: &File) -> Value {
    json!({
        "id": file.id.as_str(),
        "object": "file",
        "bytes": file.bytes,
        "created_at": seconds(file.created_at),
        "expires_at": file.about.expires_at.map(seconds),
        "filename": file.about.filename,
        "purpose": file.about.purpose,
        "status": "processed",
        "status_details": null,
    })
}

pub(crate) fn deleted(id: &FileId) -> Value {
    json!({ "id": id.as_str(), "object": "file", "deleted": true })
}

pub(crate) fn batch(batch: &Batch) -> Value {
    let times = &batch.times;
    json!({
        "id": batch.id.as_str(),
        "object": "batch",
        "endpoint": batch.order.endpoint,
        "model": batch.model,
        "errors": errors(&batch.errors),
        "input_file_id": batch.order.input.as_str(),
        "completion_window": batch.order.completion_window,
        "status": batch.status.label(),
        "output_file_id": batch.output_file.as_ref().map(FileId::as_str),
        "error_file_id": batch.error_file.as_ref().map(FileId::as_str),
        "created_at": seconds(times.created),
        "in_progress_at": times.in_progress.map(seconds),
        "expires_at": seconds(times.expires),
        "finalizing_at": times.finalizing.map(seconds),
        "completed_at": times.completed.map(seconds),
        "failed_at": times.failed.map(seconds),
        "expired_at": times.expired.map(seconds),
        "cancelling_at": times.cancelling.map(seconds),
        "cancelled_at": times.cancelled.map(seconds),
        "request_counts": {
            "total": batch.counts.total,
            "completed": batch.counts.completed,
            "failed": batch.counts.failed,
        },
        "usage": usage(batch.tokens),
        "metadata": batch.order.metadata,
    })
}

fn errors(errors: &[InputError]) -> Value {
    if errors.is_empty() {
        return Value::Null;
    }
    let data: Vec<Value> = errors
        .iter()
        .map(|error| {
            json!({
                "code": error.code, "message": error.message,
                "param": error.param, "line": error.line,
            })
        })
        .collect();
    json!({ "object": "list", "data": data })
}

fn usage(tokens: Tokens) -> Value {
    if tokens == Tokens::default() {
        return Value::Null;
    }
    json!({
        "input_tokens": tokens.input,
        "input_tokens_details": { "cached_tokens": tokens.cached },
        "output_tokens": tokens.output,
        "output_tokens_details": { "reasoning_tokens": tokens.reasoning },
        "total_tokens": tokens.input.saturating_add(tokens.output),
    })
}

pub(crate) fn list<T>(page: &Page<T>, show: impl Fn(&T) -> Value) -> Value {
    let data: Vec<Value> = page.data.iter().map(show).collect();
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    json!({
        "object": "list",
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": page.has_more,
        "data": data,
    })
}
