//! The lease: who executes batches. Its epoch goes up each time it is taken, and every
//! transaction of a holder looks whether it still is the one.

use crate::error::Fault;
use crate::open::Store;
use crate::rows::{signed, unsigned};
use evenkeel_domain::durable::{Fence, Millis, StoreError};
use sqlx::{Row, SqliteConnection};

/// Refuses a holder whose lease has gone to another. Within the transaction that then
/// writes: SQLite has one writer at a time, so nobody takes the lease in between.
pub(crate) async fn guard(connection: &mut SqliteConnection, fence: &Fence) -> Result<(), Fault> {
    let held = "SELECT count(*) FROM lease WHERE name = 'batch' AND holder = ? AND epoch = ?";
    let held: i64 = sqlx::query_scalar(held)
        .bind(&fence.holder)
        .bind(signed(fence.epoch))
        .fetch_one(connection)
        .await?;
    if held == 1 { Ok(()) } else { Err(StoreError::Fenced.into()) }
}

/// The epoch that rows carry which are written without the lease.
pub(crate) async fn epoch_of_lease(connection: &mut SqliteConnection) -> Result<i64, Fault> {
    let epoch = "SELECT epoch FROM lease WHERE name = 'batch'";
    Ok(sqlx::query_scalar(epoch).fetch_one(connection).await?)
}

impl Store {
    pub(crate) async fn take_lease(
        &self,
        holder: &str,
        ttl: Millis,
        now: Millis,
    ) -> Result<Option<Fence>, Fault> {
        let mut tx = self.begin().await?;
        let taken = sqlx::query(
            "UPDATE lease SET holder = ?1, epoch = epoch + 1, expires_at = ?2
             WHERE name = 'batch' AND (holder IS NULL OR expires_at <= ?3 OR expires_at > ?4)
             RETURNING epoch",
        )
        .bind(holder)
        .bind(signed(now.saturating_add(ttl)))
        .bind(signed(now))
        .bind(signed(now.saturating_add(ttl.saturating_mul(2))))
        .fetch_optional(&mut *tx)
        .await?;
        let epoch: Option<i64> = taken.map(|row| row.try_get("epoch")).transpose()?;
        tx.commit().await?;
        Ok(epoch.map(|epoch| Fence { holder: holder.to_owned(), epoch: unsigned(epoch) }))
    }

    pub(crate) async fn keep_lease(&self, fence: &Fence, until: Millis) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        sqlx::query("UPDATE lease SET expires_at = ? WHERE name = 'batch'")
            .bind(signed(until))
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    pub(crate) async fn drop_lease(&self, fence: &Fence) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        sqlx::query("UPDATE lease SET holder = NULL, expires_at = 0 WHERE name = 'batch'")
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}
