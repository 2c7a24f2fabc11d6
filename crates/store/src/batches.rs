//! What owners do with batches.

use crate::error::Fault;
use crate::files::bytes_used;
use crate::lease::epoch_of_lease;
use crate::open::Store;
use crate::rows::{self, THERE, signed, unsigned};
use crate::seal::id;
use crate::work::advance;
use evenkeel_domain::durable::{
    Batch, BatchId, BatchStatus, BatchStore, Limit, Millis, NewBatch, Owner, Page, StoreError,
    StoreFuture, Used,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

async fn owned(
    connection: &mut SqliteConnection,
    owner: &Owner,
    id: &BatchId,
) -> Result<SqliteRow, Fault> {
    let row = sqlx::query("SELECT * FROM batch WHERE id = ? AND owner = ?")
        .bind(id.as_str())
        .bind(owner.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.ok_or_else(|| StoreError::no_batch(id))?)
}

async fn open_batches(connection: &mut SqliteConnection) -> Result<u64, Fault> {
    let open = "SELECT count(*) FROM batch WHERE over_at IS NULL";
    Ok(unsigned(sqlx::query_scalar(open).fetch_one(connection).await?))
}

async fn is_input(connection: &mut SqliteConnection, order: &NewBatch) -> Result<bool, Fault> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM file WHERE id = ? AND owner = ? AND state = ? AND purpose = 'batch'
           AND (expires_at IS NULL OR expires_at > ?)",
    )
    .bind(order.input.as_str())
    .bind(order.owner.as_str())
    .bind(THERE)
    .bind(signed(order.created_at))
    .fetch_one(connection)
    .await?;
    Ok(found == 1)
}

impl Store {
    async fn insert_batch(&self, order: &NewBatch) -> Result<Batch, Fault> {
        let mut tx = self.begin().await?;
        if !is_input(&mut tx, order).await? {
            return Err(StoreError::no_file(&order.input).into());
        }
        let max = self.limits.max_open_batches;
        if open_batches(&mut tx).await? >= max {
            return Err(StoreError::Full { limit: Limit::OpenBatches, max }.into());
        }
        let batch = Batch::new(BatchId::new(id("batch_")?), order.clone());
        let epoch = epoch_of_lease(&mut tx).await?;
        sqlx::query(
            "INSERT INTO batch (id, owner, endpoint, input, window, metadata, output_ttl, status,
                                created_at, expires_at, salt, writer, epoch)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(batch.id.as_str())
        .bind(order.owner.as_str())
        .bind(&order.endpoint)
        .bind(order.input.as_str())
        .bind(&order.completion_window)
        .bind(rows::metadata_text(order)?)
        .bind(order.output_expires_after.map(signed))
        .bind(batch.status.label())
        .bind(signed(order.created_at))
        .bind(signed(order.expires_at))
        .bind(self.salt()?)
        .bind(&self.name)
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(batch)
    }

    async fn list_batches(
        &self,
        owner: &Owner,
        after: Option<&BatchId>,
        limit: usize,
    ) -> Result<Page<Batch>, Fault> {
        let mut reader = self.readers.acquire().await?;
        let after: Option<i64> = match after {
            None => None,
            Some(id) => Some(owned(&mut reader, owner, id).await?.try_get("seq")?),
        };
        let found = sqlx::query(
            "SELECT * FROM batch WHERE owner = ?1 AND (?2 IS NULL OR seq < ?2)
             ORDER BY seq DESC LIMIT ?3",
        )
        .bind(owner.as_str())
        .bind(after)
        .bind(signed(limit as u64 + 1))
        .fetch_all(&mut *reader)
        .await?;
        let found = found.iter().map(rows::batch).collect::<Result<_, _>>()?;
        Ok(Page::cut(found, limit))
    }

    async fn cancel(&self, owner: &Owner, id: &BatchId, now: Millis) -> Result<Batch, Fault> {
        let mut tx = self.begin().await?;
        let batch = rows::batch(&owned(&mut tx, owner, id).await?)?;
        if batch.status == BatchStatus::Cancelling {
            return Ok(batch);
        }
        advance(&mut tx, id, BatchStatus::Cancelling, now).await?;
        let batch = rows::batch(&owned(&mut tx, owner, id).await?)?;
        tx.commit().await?;
        Ok(batch)
    }

    async fn count(&self) -> Result<Used, Fault> {
        let mut reader = self.readers.acquire().await?;
        let files: i64 =
            sqlx::query_scalar("SELECT count(*) FROM file").fetch_one(&mut *reader).await?;
        Ok(Used {
            bytes: bytes_used(&mut reader).await?,
            files: unsigned(files),
            open_batches: open_batches(&mut reader).await?,
            batches: by_status(&mut reader).await?,
        })
    }
}

async fn by_status(reader: &mut SqliteConnection) -> Result<[u64; BatchStatus::ALL.len()], Fault> {
    let counted: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM batch GROUP BY status")
            .fetch_all(reader)
            .await?;
    let of = |status: BatchStatus| counted.iter().find(|(label, _)| label == status.label());
    Ok(BatchStatus::ALL.map(|status| of(status).map_or(0, |(_, count)| unsigned(*count))))
}

impl BatchStore for Store {
    fn create_batch<'a>(&'a self, order: &'a NewBatch) -> StoreFuture<'a, Batch> {
        self.run(self.insert_batch(order))
    }

    fn batch<'a>(&'a self, owner: &'a Owner, id: &'a BatchId) -> StoreFuture<'a, Batch> {
        self.run(async move {
            let mut reader = self.readers.acquire().await?;
            rows::batch(&owned(&mut reader, owner, id).await?)
        })
    }

    fn batches<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<&'a BatchId>,
        limit: usize,
    ) -> StoreFuture<'a, Page<Batch>> {
        self.run(self.list_batches(owner, after, limit))
    }

    fn cancel_batch<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a BatchId,
        now: Millis,
    ) -> StoreFuture<'a, Batch> {
        self.run(self.cancel(owner, id, now))
    }

    fn used(&self) -> StoreFuture<'_, Used> {
        self.run(self.count())
    }
}
