//! Freeing what nobody needs, a little at a time: a large transaction would hold up every
//! answer that is to be kept.

use crate::error::Fault;
use crate::lease::guard;
use crate::open::Store;
use crate::rows::{COMING, GONE, THERE, signed};
use evenkeel_domain::durable::{Fence, Millis, Sweep, Swept};
use sqlx::SqliteConnection;

/// Pages given back to the file system after each sweep: 4 MiB.
const PAGES: &str = "PRAGMA incremental_vacuum(1024)";

/// Rows that may still be deleted.
struct Budget(i64);

impl Budget {
    fn spend(&mut self, rows: u64) {
        self.0 -= signed(rows);
    }
}

impl Store {
    pub(crate) async fn sweep_once(
        &self,
        fence: &Fence,
        what: Sweep,
        now: Millis,
    ) -> Result<Swept, Fault> {
        let mut tx = self.begin().await?;
        guard(&mut tx, fence).await?;
        mark_dead(&mut tx, fence, what, now).await?;
        let mut left = Budget(what.rows.into());
        free_files(&mut tx, &mut left).await?;
        free_answers(&mut tx, &mut left).await?;
        forget_batches(&mut tx, what, &mut left).await?;
        tx.commit().await?;
        let rows = what.rows - u32::try_from(left.0).unwrap_or(0);
        if rows > 0 {
            let mut tx = self.begin().await?;
            sqlx::query(PAGES).fetch_all(&mut *tx).await?;
            tx.commit().await?;
        }
        Ok(Swept { rows, more: left.0 <= 0 })
    }
}

async fn mark_dead(
    connection: &mut SqliteConnection,
    fence: &Fence,
    what: Sweep,
    now: Millis,
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE file SET state = ?1 WHERE
           (state = ?2 AND expires_at <= ?3)
           OR (state = ?4 AND fence_epoch IS NULL AND touched_at < ?5)
           OR (state = ?4 AND fence_epoch < ?6)",
    )
    .bind(GONE)
    .bind(THERE)
    .bind(signed(now))
    .bind(COMING)
    .bind(signed(what.uploads_before))
    .bind(signed(fence.epoch))
    .execute(connection)
    .await?;
    Ok(())
}

async fn free_files(connection: &mut SqliteConnection, left: &mut Budget) -> Result<(), Fault> {
    while left.0 > 0 {
        let dead: Option<i64> = sqlx::query_scalar(
            "SELECT seq FROM file WHERE state = ? AND id NOT IN (
               SELECT input FROM batch WHERE over_at IS NULL) LIMIT 1",
        )
        .bind(GONE)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(seq) = dead else { break };
        let freed = sqlx::query(
            "DELETE FROM piece WHERE rowid IN (SELECT rowid FROM piece WHERE file = ? LIMIT ?)",
        )
        .bind(seq)
        .bind(left.0)
        .execute(&mut *connection)
        .await?;
        left.spend(freed.rows_affected());
        if left.0 > 0 {
            let row = sqlx::query("DELETE FROM file WHERE seq = ?").bind(seq);
            left.spend(row.execute(&mut *connection).await?.rows_affected());
        }
    }
    Ok(())
}

async fn free_answers(connection: &mut SqliteConnection, left: &mut Budget) -> Result<(), Fault> {
    while left.0 > 0 {
        let over = "SELECT seq FROM batch WHERE over_at IS NOT NULL AND swept = 0 LIMIT 1";
        let over: Option<i64> = sqlx::query_scalar(over).fetch_optional(&mut *connection).await?;
        let Some(seq) = over else { break };
        let freed = sqlx::query(
            "DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE batch = ? LIMIT ?)",
        )
        .bind(seq)
        .bind(left.0)
        .execute(&mut *connection)
        .await?;
        left.spend(freed.rows_affected());
        if left.0 > 0 {
            let done = sqlx::query("UPDATE batch SET swept = 1 WHERE seq = ?").bind(seq);
            done.execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn forget_batches(
    connection: &mut SqliteConnection,
    what: Sweep,
    left: &mut Budget,
) -> Result<(), Fault> {
    if left.0 <= 0 {
        return Ok(());
    }
    let forgotten = sqlx::query(
        "DELETE FROM batch WHERE seq IN (
           SELECT seq FROM batch WHERE over_at < ? AND swept = 1 LIMIT ?)",
    )
    .bind(signed(what.batches_before))
    .bind(left.0)
    .execute(connection)
    .await?;
    left.spend(forgotten.rows_affected());
    Ok(())
}
