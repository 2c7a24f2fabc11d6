//! Files: rows of pieces, of which nobody sees any until all are there.

use crate::error::Fault;
use crate::lease::{epoch_of_lease, guard};
use crate::open::Store;
use crate::rows::{self, COMING, GONE, THERE, signed, unsigned};
use crate::seal::id;
use evenkeel_domain::durable::{
    Fence, File, FileAbout, FileId, FileQuery, FileStore, Limit, Millis, Owner, PIECE, Page,
    StoreError, StoreFuture,
};
use sqlx::{Row, SqliteConnection};

/// Pieces that one call reads: 1 MiB.
const READ_PIECES: usize = 16;

/// A file that is coming, as the database has it.
struct Coming {
    seq: i64,
    bytes: i64,
    salt: Option<Vec<u8>>,
    is_output: bool,
}

/// Bytes of files and answers together.
pub(crate) async fn bytes_used(connection: &mut SqliteConnection) -> Result<u64, Fault> {
    let sum = "SELECT (SELECT coalesce(sum(bytes), 0) FROM file)
                    + (SELECT coalesce(sum(answer_bytes), 0) FROM batch WHERE swept = 0)";
    Ok(unsigned(sqlx::query_scalar(sum).fetch_one(connection).await?))
}

async fn coming(connection: &mut SqliteConnection, id: &FileId) -> Result<Coming, Fault> {
    let row =
        sqlx::query("SELECT seq, bytes, salt, fence_epoch FROM file WHERE id = ? AND state = ?")
            .bind(id.as_str())
            .bind(COMING)
            .fetch_optional(connection)
            .await?;
    let row = row.ok_or_else(|| StoreError::no_file(id))?;
    Ok(Coming {
        seq: row.try_get("seq")?,
        bytes: row.try_get("bytes")?,
        salt: row.try_get("salt")?,
        is_output: row.try_get::<Option<i64>, _>("fence_epoch")?.is_some(),
    })
}

/// Makes a file of what was added to it.
pub(crate) async fn place(
    connection: &mut SqliteConnection,
    id: &FileId,
    about: &FileAbout,
    now: Millis,
) -> Result<(), Fault> {
    let placed = sqlx::query(
        "UPDATE file SET state = ?, filename = ?, purpose = ?, expires_at = ?, created_at = ?
         WHERE id = ? AND state = ?",
    )
    .bind(THERE)
    .bind(&about.filename)
    .bind(&about.purpose)
    .bind(about.expires_at.map(signed))
    .bind(signed(now))
    .bind(id.as_str())
    .bind(COMING)
    .execute(connection)
    .await?;
    if placed.rows_affected() == 1 { Ok(()) } else { Err(StoreError::no_file(id).into()) }
}

impl Store {
    async fn room_for_a_file(&self, connection: &mut SqliteConnection) -> Result<(), Fault> {
        let files: i64 =
            sqlx::query_scalar("SELECT count(*) FROM file").fetch_one(&mut *connection).await?;
        let max = self.limits.max_files;
        if unsigned(files) >= max {
            return Err(StoreError::Full { limit: Limit::Files, max }.into());
        }
        self.room_for_bytes(connection, 1).await
    }

    async fn room_for_bytes(
        &self,
        connection: &mut SqliteConnection,
        more: u64,
    ) -> Result<(), Fault> {
        let max = self.limits.max_bytes;
        if bytes_used(connection).await?.saturating_add(more) > max {
            return Err(StoreError::Full { limit: Limit::Bytes, max }.into());
        }
        Ok(())
    }

    async fn begin_row(
        &self,
        owner: &Owner,
        fence: Option<&Fence>,
        now: Millis,
    ) -> Result<FileId, Fault> {
        let mut tx = self.begin().await?;
        match fence {
            Some(fence) => guard(&mut tx, fence).await?,
            None => self.room_for_a_file(&mut tx).await?,
        }
        let id = id("file-")?;
        let epoch = epoch_of_lease(&mut tx).await?;
        sqlx::query(
            "INSERT INTO file (id, owner, state, filename, purpose, bytes, created_at,
                               touched_at, fence_epoch, salt, writer, epoch)
             VALUES (?, ?, ?, '', '', 0, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(owner.as_str())
        .bind(COMING)
        .bind(signed(now))
        .bind(signed(now))
        .bind(fence.map(|fence| signed(fence.epoch)))
        .bind(self.salt()?)
        .bind(&self.name)
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(FileId::new(id))
    }

    async fn add_pieces(
        &self,
        id: &FileId,
        offset: u64,
        data: &[u8],
        now: Millis,
    ) -> Result<(), Fault> {
        let mut tx = self.begin().await?;
        let file = coming(&mut tx, id).await?;
        let piece = PIECE as i64;
        if signed(offset) != file.bytes || file.bytes % piece != 0 {
            let why = format!("{id} does not go on at {offset}");
            return Err(StoreError::Invalid(why).into());
        }
        if !file.is_output {
            self.room_for_bytes(&mut tx, data.len() as u64).await?;
        }
        let seal = self.seal(id.as_str(), file.salt.as_deref())?;
        for (index, content) in (file.bytes / piece..).zip(data.chunks(PIECE)) {
            let body = match &seal {
                Some(seal) => seal.seal(index, content.to_vec())?,
                None => content.to_vec(),
            };
            sqlx::query("INSERT INTO piece (file, idx, body) VALUES (?, ?, ?)")
                .bind(file.seq)
                .bind(index)
                .bind(body)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("UPDATE file SET bytes = ?, touched_at = ? WHERE seq = ?")
            .bind(file.bytes + signed(data.len() as u64))
            .bind(signed(now))
            .bind(file.seq)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn read_pieces(&self, id: &FileId, offset: u64, max: usize) -> Result<Vec<u8>, Fault> {
        let row = sqlx::query("SELECT seq, bytes, salt FROM file WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        let row = row.ok_or_else(|| StoreError::no_file(id))?;
        let bytes = unsigned(row.try_get("bytes")?);
        if offset >= bytes || max == 0 {
            return Ok(Vec::new());
        }
        let first = offset / PIECE as u64;
        let last = (offset.saturating_add(max as u64).min(bytes) - 1) / PIECE as u64;
        let last = last.min(first + READ_PIECES as u64 - 1);
        let salt: Option<Vec<u8>> = row.try_get("salt")?;
        let seal = self.seal(id.as_str(), salt.as_deref())?;
        let pieces = sqlx::query(
            "SELECT idx, body FROM piece WHERE file = ? AND idx BETWEEN ? AND ? ORDER BY idx",
        )
        .bind(row.try_get::<i64, _>("seq")?)
        .bind(signed(first))
        .bind(signed(last))
        .fetch_all(&self.readers)
        .await?;
        let mut content = Vec::with_capacity(pieces.len() * PIECE);
        for piece in pieces {
            let (index, body): (i64, Vec<u8>) = (piece.try_get("idx")?, piece.try_get("body")?);
            content.extend(match &seal {
                Some(seal) => seal.open(index, body)?,
                None => body,
            });
        }
        let expected = bytes.min((last + 1) * PIECE as u64) - first * PIECE as u64;
        if content.len() as u64 != expected {
            return Err(Fault::corrupt(format!("{id} lacks a part of its content")));
        }
        let from = usize::try_from(offset - first * PIECE as u64).unwrap_or(0);
        content.drain(..from);
        content.truncate(max);
        Ok(content)
    }

    async fn list_files(
        &self,
        owner: &Owner,
        query: &FileQuery,
        now: Millis,
    ) -> Result<Page<File>, Fault> {
        let after = match &query.after {
            None => None,
            Some(id) => Some(self.seq_of(owner, id, now).await?),
        };
        let sql = if query.ascending {
            "SELECT * FROM file WHERE owner = ?1 AND state = ?2
               AND (expires_at IS NULL OR expires_at > ?3) AND (?4 IS NULL OR purpose = ?4)
               AND seq > coalesce(?5, 0) ORDER BY seq LIMIT ?6"
        } else {
            "SELECT * FROM file WHERE owner = ?1 AND state = ?2
               AND (expires_at IS NULL OR expires_at > ?3) AND (?4 IS NULL OR purpose = ?4)
               AND (?5 IS NULL OR seq < ?5) ORDER BY seq DESC LIMIT ?6"
        };
        let found = sqlx::query(sql)
            .bind(owner.as_str())
            .bind(THERE)
            .bind(signed(now))
            .bind(query.purpose.as_deref())
            .bind(after)
            .bind(signed(query.limit as u64 + 1))
            .fetch_all(&self.readers)
            .await?;
        let found = found.iter().map(rows::file).collect::<Result<_, _>>()?;
        Ok(Page::cut(found, query.limit))
    }

    async fn seq_of(&self, owner: &Owner, id: &FileId, now: Millis) -> Result<i64, Fault> {
        let row = self.visible(owner, id, now).await?;
        Ok(row.try_get("seq")?)
    }

    async fn visible(
        &self,
        owner: &Owner,
        id: &FileId,
        now: Millis,
    ) -> Result<sqlx::sqlite::SqliteRow, Fault> {
        let row = sqlx::query(
            "SELECT * FROM file WHERE id = ? AND owner = ? AND state = ?
               AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(id.as_str())
        .bind(owner.as_str())
        .bind(THERE)
        .bind(signed(now))
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.ok_or_else(|| StoreError::no_file(id))?)
    }

    async fn commit_row(&self, id: &FileId, about: &FileAbout, now: Millis) -> Result<File, Fault> {
        let mut tx = self.begin().await?;
        place(&mut tx, id, about, now).await?;
        let row = sqlx::query("SELECT * FROM file WHERE id = ?").bind(id.as_str());
        let file = rows::file(&row.fetch_one(&mut *tx).await?)?;
        tx.commit().await?;
        Ok(file)
    }

    /// Leaves the content to the sweep, which frees it a little at a time.
    async fn drop_row(
        &self,
        id: &FileId,
        owner: Option<&Owner>,
        state: i64,
        now: Millis,
    ) -> Result<bool, Fault> {
        let mut tx = self.begin().await?;
        let dropped = sqlx::query(
            "UPDATE file SET state = ?1 WHERE id = ?2 AND state = ?3
               AND (?4 IS NULL OR (owner = ?4 AND (expires_at IS NULL OR expires_at > ?5)))",
        )
        .bind(GONE)
        .bind(id.as_str())
        .bind(state)
        .bind(owner.map(Owner::as_str))
        .bind(signed(now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(dropped.rows_affected() == 1)
    }
}

impl FileStore for Store {
    fn begin_file<'a>(
        &'a self,
        owner: &'a Owner,
        fence: Option<&'a Fence>,
        now: Millis,
    ) -> StoreFuture<'a, FileId> {
        self.run(self.begin_row(owner, fence, now))
    }

    fn append_file<'a>(
        &'a self,
        id: &'a FileId,
        offset: u64,
        data: &'a [u8],
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(self.add_pieces(id, offset, data, now))
    }

    fn commit_file<'a>(
        &'a self,
        id: &'a FileId,
        about: &'a FileAbout,
        now: Millis,
    ) -> StoreFuture<'a, File> {
        self.run(self.commit_row(id, about, now))
    }

    fn abandon_file<'a>(&'a self, id: &'a FileId) -> StoreFuture<'a, ()> {
        self.run(async { self.drop_row(id, None, COMING, 0).await.map(|_| ()) })
    }

    fn file<'a>(&'a self, owner: &'a Owner, id: &'a FileId, now: Millis) -> StoreFuture<'a, File> {
        self.run(async move { rows::file(&self.visible(owner, id, now).await?) })
    }

    fn files<'a>(
        &'a self,
        owner: &'a Owner,
        query: &'a FileQuery,
        now: Millis,
    ) -> StoreFuture<'a, Page<File>> {
        self.run(self.list_files(owner, query, now))
    }

    fn read_file<'a>(
        &'a self,
        id: &'a FileId,
        offset: u64,
        max: usize,
    ) -> StoreFuture<'a, Vec<u8>> {
        self.run(self.read_pieces(id, offset, max))
    }

    fn delete_file<'a>(
        &'a self,
        owner: &'a Owner,
        id: &'a FileId,
        now: Millis,
    ) -> StoreFuture<'a, ()> {
        self.run(async move {
            let deleted = self.drop_row(id, Some(owner), THERE, now).await?;
            if deleted { Ok(()) } else { Err(StoreError::no_file(id).into()) }
        })
    }
}
