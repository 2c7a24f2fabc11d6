//! What the holder of the lease does with batches.

use crate::error::Fault;
use crate::files::{bytes_used, place};
use crate::lease::guard;
use crate::open::Store;
use crate::rows::{self, signed};
use evenkeel_domain::durable::{
    Answer, Batch, BatchId, BatchStatus, Fence, Finish, InputError, Limit, LineResult, Millis,
    StoreError, StoreFuture, Sweep, Swept, Tokens, WorkStore,
};
use sqlx::{Row, SqliteConnection};
use std::collections::BTreeMap;

/// Answers that one query reads at most; the caller's bound on bytes comes first.
const ANSWERS: i64 = 256;

/// Moves a batch on, or says that it cannot go there.
pub(crate) async fn advance(
    connection: &mut SqliteConnection,
    id: &BatchId,
    next: BatchStatus,
    now: Millis,
) -> Result<(), Fault> {
    let row = sqlx::query("SELECT status FROM batch WHERE id = ?").bind(id.as_str());
    let row = row.fetch_optional(&mut *connection).await?;
    let row = row.ok_or_else(|| StoreError::no_batch(id))?;
    let status = rows::status(row.try_get("status")?)?;
    if !status.may_become(next) {
        return Err(StoreError::conflict(id, status).into());
    }
    sqlx::query(set_status(next))
        .bind(next.label())
        .bind(signed(now))
        .bind(next.is_over().then(|| signed(now)))
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

fn set_status(next: BatchStatus) -> &'static str {
    macro_rules! set {
        ($column:literal) => {
            concat!(
                "UPDATE batch SET status = ?, ",
                $column,
                " = ?, over_at = ?, epoch = (SELECT epoch FROM lease WHERE name = 'batch')
                 WHERE id = ?"
            )
        };
    }
    match next {
        BatchStatus::Validating => set!("created_at"),
        BatchStatus::Failed => set!("failed_at"),
        BatchStatus::InProgress => set!("in_progress_at"),
        BatchStatus::Finalizing => set!("finalizing_at"),
        BatchStatus::Completed => set!("completed_at"),
        BatchStatus::Expired => set!("expired_at"),
        BatchStatus::Cancelling => set!("cancelling_at"),
        BatchStatus::Cancelled => set!("cancelled_at"),
    }
}

/// What a call adds to one batch.
struct Growth {
    seq: i64,
    salt: Option<Vec<u8>>,
    completed: i64,
    failed: i64,
    bytes: i64,
    tokens: Tokens,
}

/// Batches by id; `None` for one that takes no answers.
type Growing<'a> = BTreeMap<&'a BatchId, Option<Growth>>;

async fn growth(connection: &mut SqliteConnection, id: &BatchId) -> Result<Option<Growth>, Fault> {
    let row = sqlx::query("SELECT seq, status, salt FROM batch WHERE id = ?").bind(id.as_str());
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    let status = rows::status(row.try_get("status")?)?;
    let open = matches!(status, BatchStatus::InProgress | BatchStatus::Cancelling);
    let (seq, salt) = (row.try_get("seq")?, row.try_get("salt")?);
    let none = Tokens::default();
    Ok(open.then_some(Growth { seq, salt, completed: 0, failed: 0, bytes: 0, tokens: none }))
}

impl Growth {
    fn add(&mut self, answer: &Answer) {
        *(if answer.result.is_good() { &mut self.completed } else { &mut self.failed }) += 1;
        self.bytes += signed(answer.result.bytes());
        self.tokens = self.tokens.plus(answer.tokens);
    }

    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE batch SET completed = completed + ?, failed = failed + ?,
               answer_bytes = answer_bytes + ?, input_tokens = input_tokens + ?,
               cached_tokens = cached_tokens + ?, output_tokens = output_tokens + ?,
               reasoning_tokens = reasoning_tokens + ? WHERE seq = ?",
        )
        .bind(self.completed)
        .bind(self.failed)
        .bind(self.bytes)
        .bind(signed(self.tokens.input))
        .bind(signed(self.tokens.cached))
        .bind(signed(self.tokens.output))
        .bind(signed(self.tokens.reasoning))
        .bind(self.seq)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Inserts an answer unless its line has one.
    async fn insert_answer(
        &self,
        tx: &mut SqliteConnection,
        fence: &Fence,
        id: &BatchId,
        batch: &Growth,
        answer: &Answer,
    ) -> Result<bool, Fault> {
        let (status, code, body) = match &answer.result {
            LineResult::Response { status, body } => (Some(*status), None, body.clone()),
            LineResult::Error { code, message } => (None, Some(code), message.clone().into_bytes()),
        };
        let body = match self.seal(id.as_str(), batch.salt.as_deref())? {
            Some(seal) => seal.seal(answer.index.into(), body)?,
            None => body,
        };
        let inserted = sqlx::query(
            "INSERT INTO answer (batch, idx, request_id, status, code, body, input_tokens,
                                 cached_tokens, output_tokens, reasoning_tokens, writer, epoch)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(batch.seq)
        .bind(answer.index)
        .bind(&answer.request_id)
        .bind(status)
        .bind(code)
        .bind(body)
        .bind(signed(answer.tokens.input))
        .bind(signed(answer.tokens.cached))
        .bind(signed(answer.tokens.output))
        .bind(signed(answer.tokens.reasoning))
        .bind(&self.name)
        .bind(signed(fence.epoch))
        .execute(tx)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn record_all(&self, fence: &Fence, answers: &[(BatchId, Answer)]) -> Result<u32, Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        let max = self.limits.max_bytes;
        if bytes_used(&mut tx).await? >= max.saturating_mul(2) {
            return Err(StoreError::Full { limit: Limit::Bytes, max }.into());
        }
        let mut batches = Growing::new();
        let mut kept = 0;
        for (id, answer) in answers {
            if !batches.contains_key(id) {
                batches.insert(id, growth(&mut tx, id).await?);
            }
            let Some(Some(batch)) = batches.get_mut(id) else { continue };
            if self.insert_answer(&mut tx, fence, id, batch, answer).await? {
                batch.add(answer);
                kept += 1;
            }
        }
        for batch in batches.into_values().flatten() {
            batch.write(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(kept)
    }

    async fn read_answers(
        &self,
        id: &BatchId,
        from: u32,
        max_bytes: usize,
    ) -> Result<Vec<Answer>, Fault> {
        let batch = sqlx::query("SELECT seq, salt FROM batch WHERE id = ?").bind(id.as_str());
        let batch = batch.fetch_optional(&self.readers).await?;
        let batch = batch.ok_or_else(|| StoreError::no_batch(id))?;
        let salt: Option<Vec<u8>> = batch.try_get("salt")?;
        let seal = self.seal(id.as_str(), salt.as_deref())?;
        // How far `max_bytes` reach is counted first: bodies that do not fit are not read.
        let found = sqlx::query(
            "SELECT * FROM answer WHERE batch = ?1 AND idx >= ?2 AND idx <= (
               SELECT max(idx) FROM (
                 SELECT idx, coalesce(sum(size) OVER (
                   ORDER BY idx ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                 FROM (SELECT idx, max(length(body), 1) AS size FROM answer
                       WHERE batch = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3))
               WHERE before < ?4)
             ORDER BY idx",
        )
        .bind(batch.try_get::<i64, _>("seq")?)
        .bind(from)
        .bind(ANSWERS)
        .bind(signed(max_bytes as u64))
        .fetch_all(&self.readers)
        .await?;
        let opened = found.iter().map(|row| {
            let body: Vec<u8> = row.try_get("body")?;
            let body = match &seal {
                Some(seal) => seal.open(row.try_get("idx")?, body)?,
                None => body,
            };
            rows::answer(row, body)
        });
        opened.collect()
    }

    async fn end(
        &self,
        fence: &Fence,
        id: &BatchId,
        finish: &Finish,
        now: Millis,
    ) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        advance(&mut tx, id, finish.end.status(), now).await?;
        for (file, about) in finish.output.iter().chain(&finish.errors) {
            place(&mut tx, file, about, now).await?;
        }
        sqlx::query(
            "UPDATE batch SET output_file = ?, error_file = ?, failed = failed + ? WHERE id = ?",
        )
        .bind(finish.output.as_ref().map(|(id, _)| id.as_str()))
        .bind(finish.errors.as_ref().map(|(id, _)| id.as_str()))
        .bind(finish.unanswered)
        .bind(id.as_str())
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    async fn start(
        &self,
        fence: &Fence,
        id: &BatchId,
        total: u32,
        model: Option<&str>,
        now: Millis,
    ) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        advance(&mut tx, id, BatchStatus::InProgress, now).await?;
        sqlx::query("UPDATE batch SET total = ?, model = ? WHERE id = ?")
            .bind(total)
            .bind(model)
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn fail(
        &self,
        fence: &Fence,
        id: &BatchId,
        errors: &[InputError],
        now: Millis,
    ) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        advance(&mut tx, id, BatchStatus::Failed, now).await?;
        sqlx::query("UPDATE batch SET errors = ? WHERE id = ?")
            .bind(rows::errors_text(errors)?)
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn finalize(&self, fence: &Fence, id: &BatchId, now: Millis) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        advance(&mut tx, id, BatchStatus::Finalizing, now).await?;
        tx.commit().await
    }
}

impl WorkStore for Store {
    fn acquire<'a>(
        &'a self,
        holder: &'a str,
        ttl: Millis,
        now: Millis,
    ) -> StoreFuture<'a, Option<Fence>> {
        self.run(self.take_lease(holder, ttl, now))
    }

    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Millis, now: Millis) -> StoreFuture<'a, ()> {
        self.run(self.keep_lease(fence, now.saturating_add(ttl)))
    }

    fn release<'a>(&'a self, fence: &'a Fence) -> StoreFuture<'a, ()> {
        self.run(self.drop_lease(fence))
    }

    fn open_batches(&self) -> StoreFuture<'_, Vec<Batch>> {
        self.run(async {
            let open = "SELECT * FROM batch WHERE over_at IS NULL ORDER BY seq LIMIT ?";
            let most = signed(self.limits.max_open_batches);
            let open = sqlx::query(open).bind(most).fetch_all(&self.readers).await?;
            open.iter().map(rows::batch).collect()
        })
    }

    fn start_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        total: u32,
        model: Option<&'a str>,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(self.start(fence, id, total, model, now))
    }

    fn fail_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        errors: &'a [InputError],
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(self.fail(fence, id, errors, now))
    }

    fn record<'a>(
        &'a self,
        fence: &'a Fence,
        answers: &'a [(BatchId, Answer)],
    ) -> StoreFuture<'a, u32> {
        self.run(self.record_all(fence, answers))
    }

    fn answered<'a>(&'a self, id: &'a BatchId) -> StoreFuture<'a, Vec<u32>> {
        self.run(async move {
            let indices =
                "SELECT idx FROM answer WHERE batch = (SELECT seq FROM batch WHERE id = ?)
                           ORDER BY idx";
            Ok(sqlx::query_scalar(indices).bind(id.as_str()).fetch_all(&self.readers).await?)
        })
    }

    fn answers<'a>(
        &'a self,
        id: &'a BatchId,
        from: u32,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Answer>> {
        self.run(self.read_answers(id, from, max_bytes))
    }

    fn finalize_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(self.finalize(fence, id, now))
    }

    fn finish_batch<'a>(
        &'a self,
        fence: &'a Fence,
        id: &'a BatchId,
        finish: &'a Finish,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(self.end(fence, id, finish, now))
    }

    fn sweep<'a>(&'a self, fence: &'a Fence, what: Sweep, now: Millis) -> StoreFuture<'a, Swept> {
        self.run(self.sweep_once(fence, what, now))
    }
}
