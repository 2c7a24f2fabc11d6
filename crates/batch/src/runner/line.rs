//! One line: read, sent, judged.

use crate::answer::{Outcome, failed, judge};
use crate::content::read_exact;
use crate::execute::{Call, Done};
use crate::http::Parts;
use crate::validate::{Place, parse};
use evenkeel_domain::durable::{BatchId, FileId, Owner, StoreError};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A line to be sent.
pub(super) struct Task {
    pub(super) batch: BatchId,
    pub(super) owner: Owner,
    pub(super) path: Arc<str>,
    pub(super) input: FileId,
    pub(super) index: u32,
    pub(super) place: Place,
    pub(super) within: Duration,
    /// Turns true, or its sender goes, when the line is to be given up.
    pub(super) halt: watch::Receiver<bool>,
}

/// What came of it.
pub(super) struct Ended {
    pub(super) batch: BatchId,
    pub(super) index: u32,
    pub(super) result: Result<Outcome, Unsent>,
}

/// Why a line has no outcome.
pub(super) enum Unsent {
    /// It was given up.
    Halted,
    /// It could not be read.
    Store(StoreError),
}

pub(super) async fn send(parts: Parts, task: Task) -> Ended {
    let (batch, index) = (task.batch.clone(), task.index);
    let mut halt = task.halt.clone();
    let result = tokio::select! {
        biased;
        // Its sender is gone, or it is true: either way nobody wants the answer.
        _ = halt.wait_for(|halt| *halt) => Err(Unsent::Halted),
        result = answer(&parts, task) => result.map_err(Unsent::Store),
    };
    Ended { batch, index, result }
}

async fn answer(parts: &Parts, task: Task) -> Result<Outcome, StoreError> {
    let Task { batch, owner, path, input, index, place, within, .. } = task;
    let key = format!("{batch}-{index}");
    let line = read_exact(&*parts.store, &input, place.offset, place.length as usize).await?;
    let body = parse(&line).and_then(|line| line.body.map(|body| body.get().as_bytes().to_vec()));
    let Some(body) = body else {
        // It was good when the batch began, and files do not change.
        let why = format!("line {index} of {input} is not what it was");
        return Err(StoreError::Corrupt(why));
    };
    drop(line);
    let max_answer = parts.settings.max_answer_bytes;
    let idempotency_key = key.clone();
    let call = Call { path, body, owner, batch, index, idempotency_key, max_answer, within };
    let calling = AssertUnwindSafe(async { parts.execute.call(call).await }).catch_unwind();
    let done: Result<Done, _> = calling.await;
    Ok(match done {
        Ok(done) => judge(index, &key, done, max_answer),
        Err(_) => {
            tracing::error!(key, "sending a line of a batch panicked");
            let message = "The request could not be executed.";
            Outcome::Fault(failed(index, &key, "internal_error", message))
        }
    })
}
