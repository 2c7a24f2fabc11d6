//! What is done to a batch as a whole. Each chore can be cut off anywhere and done again.

use crate::content::READ;
use crate::http::Parts;
use crate::lines::{Found, Lines};
use crate::output;
use crate::validate::{Input, Place, Validator};
use evenkeel_domain::durable::{
    Batch, BatchId, BatchStatus, BatchStore, End, Fence, FileId, InputError, StoreError, Sweep,
};
use std::sync::Arc;
use std::time::Duration;

/// Uploads that nothing was added to for so long are given up: twice as long as one may
/// take in all.
const UPLOADS: Duration = Duration::from_secs(7200);
/// Rows deleted in one transaction: 16 MiB of content, so that answers wait some
/// milliseconds for it at most.
const ROWS: u32 = 256;

/// What came of a chore.
pub(super) struct Ended {
    pub(super) batch: BatchId,
    pub(super) result: Result<Finding, StoreError>,
}

/// See [`Ended`].
pub(super) enum Finding {
    /// The batch has ended, or is in another state: look again.
    Changed,
    /// Its lines, and those that are answered.
    Loaded(Vec<Place>, Vec<u32>),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    Validate,
    Load,
    End(End),
}

pub(super) async fn run(parts: Parts, fence: Fence, batch: Arc<Batch>, chore: Chore) -> Ended {
    let result = match chore {
        Chore::Validate => validate(&parts, &fence, &batch).await.map(|()| Finding::Changed),
        Chore::Load => load(&*parts.store, &batch).await,
        Chore::End(end) => finish(&parts, &fence, &batch, end).await.map(|()| Finding::Changed),
    };
    Ended { batch: batch.id.clone(), result }
}

async fn validate(parts: &Parts, fence: &Fence, batch: &Batch) -> Result<(), StoreError> {
    let store = &*parts.store;
    let settings = &parts.settings;
    let endpoint = &batch.order.endpoint;
    let mut validator = Validator::new(endpoint, settings.max_lines, settings.max_line_bytes);
    let mut offset = 0;
    loop {
        let piece = match store.read_file(&batch.order.input, offset, READ).await {
            Err(StoreError::NotFound { .. }) => {
                return store.fail_batch(fence, &batch.id, &[no_file()], parts.now()).await;
            }
            piece => piece?,
        };
        offset += piece.len() as u64;
        if piece.is_empty() || !validator.push(&piece) {
            break;
        }
        // Reading 200 MB of JSON must not keep this thread from everything else.
        tokio::task::yield_now().await;
    }
    match validator.end() {
        Ok(Input { lines, model }) => {
            let total = u32::try_from(lines.len()).unwrap_or(u32::MAX);
            store.start_batch(fence, &batch.id, total, model.as_deref(), parts.now()).await
        }
        Err(errors) => store.fail_batch(fence, &batch.id, &errors, parts.now()).await,
    }
}

fn no_file() -> InputError {
    InputError {
        code: "invalid_input_file".into(),
        message: "The input file is gone.".into(),
        param: Some("input_file_id".into()),
        line: None,
    }
}

async fn load(store: &dyn BatchStore, batch: &Batch) -> Result<Finding, StoreError> {
    let places = places(store, &batch.order.input).await?;
    if places.len() != batch.counts.total as usize {
        let why = format!("{} does not have the lines that it had", batch.order.input);
        return Err(StoreError::Corrupt(why));
    }
    Ok(Finding::Loaded(places, store.answered(&batch.id).await?))
}

/// Where the lines of a file lie that was found good.
async fn places(store: &dyn BatchStore, input: &FileId) -> Result<Vec<Place>, StoreError> {
    let mut lines = Lines::unbounded();
    let mut places = Vec::new();
    let mut offset = 0;
    let mut note = |found: Found<'_>| {
        if let Found::Line { offset, bytes } = found
            && !bytes.trim_ascii().is_empty()
        {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            places.push(Place { offset, length });
        }
    };
    loop {
        let piece = store.read_file(input, offset, READ).await?;
        offset += piece.len() as u64;
        if piece.is_empty() {
            break;
        }
        lines.push(&piece, &mut note);
    }
    lines.end(note);
    Ok(places)
}

async fn finish(parts: &Parts, fence: &Fence, batch: &Batch, end: End) -> Result<(), StoreError> {
    let store = &*parts.store;
    if batch.status == BatchStatus::InProgress {
        store.finalize_batch(fence, &batch.id, parts.now()).await?;
    }
    let finish = output::write(store, &parts.now, fence, batch, end).await?;
    store.finish_batch(fence, &batch.id, &finish, parts.now()).await
}

/// Cleans up a little. Whether there is more.
pub(super) async fn sweep(parts: Parts, fence: Fence) -> Result<bool, StoreError> {
    let now = parts.now();
    let what = Sweep {
        uploads_before: now.saturating_sub(super::millis(UPLOADS)),
        batches_before: now.saturating_sub(super::millis(parts.settings.retention)),
        rows: ROWS,
    };
    parts.store.sweep(&fence, what, now).await.map(|swept| swept.more)
}
