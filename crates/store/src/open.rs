//! Opening the file: making it, knowing it, bringing it to this program's format.

use crate::error::{Fault, OpenError};
use crate::key::Key;
use crate::seal::{ObjectSeal, Sealer};
use crate::tx::{self, Tx, Writer};
use evenkeel_domain::durable::{Limits, StoreError, StoreFuture};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A kind of file.
pub(crate) struct Format {
    /// What marks a file as one of them.
    pub(crate) application: i64,
    /// The steps from an empty file to the present format. One is never changed once it was
    /// released: what follows is a further one.
    pub(crate) migrations: &'static [&'static str],
}

/// Files and batches: `EVKL`.
const FORMAT: Format =
    Format { application: 0x4556_4b4c, migrations: &[include_str!("../migrations/1.sql")] };
/// How long a call waits for another process that writes: a handover's last transactions.
pub(crate) const BUSY: Duration = Duration::from_secs(5);
/// Reads at once. They are short; what does not fit waits.
const READERS: u32 = 4;
/// The write-ahead log is cut back to this many bytes when it is free.
const LOG: &str = "67108864";

/// How to open a store.
#[derive(Debug)]
pub struct Options {
    /// The database file. It and its directory are made if they are missing, for this user
    /// alone.
    pub path: PathBuf,
    /// Seals what is written from now on; `None` leaves it plain. What is there stays as it
    /// is, and is read either way.
    pub key: Option<Key>,
    /// How much is taken in.
    pub limits: Limits,
    /// What this process is called in the rows it writes, such as `host/1234`.
    pub writer: String,
}

/// A store in one SQLite file. Opened by several processes at once, it stays whole.
#[derive(Debug)]
pub struct Store {
    pub(crate) readers: SqlitePool,
    pub(crate) limits: Limits,
    pub(crate) name: String,
    writer: Arc<Mutex<Writer>>,
    sealer: Option<Sealer>,
    path: PathBuf,
}

impl Store {
    /// Opens a store, makes it if there is none, and brings it to the present format.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what helps.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { path, key, limits, writer: name } = options;
        make(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let fail = |error| OpenError::of(error, &path);
        let connect = connect_options(&path);
        let mut writer = connect.connect().await.map_err(fail)?;
        let sealer = key.map(Sealer::new);
        if let Err(error) = prepare(&mut writer, sealer.as_ref(), &path).await {
            // What went wrong is said already.
            let _ = writer.close().await;
            return Err(error);
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A file does not go away as a server does.
            .test_before_acquire(false)
            .connect_with(connect.pragma("query_only", "ON"))
            .await
            .map_err(fail)?;
        let writer = Arc::new(Mutex::new(Writer::new(writer)));
        Ok(Self { readers, limits, name, writer, sealer, path })
    }

    /// Whether the store that is at this path could be opened with this key; nothing is
    /// wrong where there is none yet. Changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what helps.
    pub async fn check(options: &Options) -> Result<(), OpenError> {
        let path = &options.path;
        if !path.exists() {
            return Ok(());
        }
        let fail = |error| OpenError::of(error, path);
        let connect = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut reader = connect.busy_timeout(BUSY).connect().await.map_err(fail)?;
        let found = check_found(&mut reader, options).await;
        // It only read.
        let _ = reader.close().await;
        found
    }

    /// Turns what goes wrong in `work` into the words of the domain.
    pub(crate) fn run<'a, T>(
        &'a self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async { work.await.map_err(|fault| fault.told(&self.path)) })
    }

    /// A transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Tx, Fault> {
        tx::begin(&self.writer).await
    }

    /// The version of SQLite, such as `3.51.3`; empty when it does not say.
    pub async fn library(&self) -> String {
        let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&self.readers).await;
        version.unwrap_or_default()
    }

    /// Ends every connection, once what they do is done. Dropping the store does so too, but
    /// nobody knows when.
    pub async fn close(self) {
        self.readers.close().await;
        // A transaction that was left is rolled back first: it holds the writer until then.
        drop(self.writer.lock().await);
        let Some(writer) = Arc::into_inner(self.writer) else { return };
        if let Err(error) = writer.into_inner().into_inner().close().await {
            tracing::warn!(%error, "the store was not closed as it should be");
        }
    }

    /// Lets the file grow to so many pages of 4 KiB and no further: a full disk, for tests.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) {
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        if let Ok(mut tx) = self.begin().await {
            let _ = sqlx::query(limit).fetch_all(&mut *tx).await;
        }
    }

    /// A salt for a new object, if there is a key.
    pub(crate) fn salt(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.sealer.as_ref().map(|_| Sealer::salt()).transpose()
    }

    /// What seals an object with that salt; `None` for one that is plain.
    pub(crate) fn seal(&self, id: &str, salt: Option<&[u8]>) -> Result<Option<ObjectSeal>, Fault> {
        let Some(salt) = salt else { return Ok(None) };
        let why = || StoreError::Unavailable(format!("{id} is sealed, and no key was given"));
        let sealer = self.sealer.as_ref().ok_or_else(why)?;
        Ok(Some(sealer.object(id, salt)))
    }
}

pub(crate) fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .pragma("journal_size_limit", LOG)
        .pragma("cell_size_check", "ON")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

/// Makes directory and file, on disk and for this user alone.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let missing = parent.ancestors().take_while(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = missing.take_while(|dir| !dir.exists()).collect();
    let mut directory = fs::DirBuilder::new();
    let mut file = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        directory.mode(0o700);
        file.mode(0o600);
    }
    directory.recursive(true).create(parent)?;
    match file.write(true).create_new(true).open(path) {
        Ok(made) => made.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    // A name is on disk once its directory is.
    sync(parent)?;
    missing.iter().filter_map(|dir| dir.parent()).try_for_each(sync)
}

fn sync(directory: &Path) -> io::Result<()> {
    let named = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    fs::File::open(named)?.sync_all()
}

async fn prepare(
    writer: &mut SqliteConnection,
    sealer: Option<&Sealer>,
    path: &Path,
) -> Result<(), OpenError> {
    recognise(writer, path, &FORMAT).await?;
    migrate(writer, path, &FORMAT).await?;
    check_key(writer, sealer, path).await
}

/// Whether the file is one of this kind, or an empty one.
pub(crate) async fn recognise(
    writer: &mut SqliteConnection,
    path: &Path,
    format: &Format,
) -> Result<(), OpenError> {
    let fail = |error| OpenError::of(error, path);
    let application = pragma(writer, "PRAGMA application_id").await.map_err(fail)?;
    let tables = pragma(writer, "SELECT count(*) FROM sqlite_schema").await.map_err(fail)?;
    match (application, tables) {
        (0, 0) => Ok(()),
        (found, _) if found == format.application => Ok(()),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// Brings the file to this program's format.
pub(crate) async fn migrate(
    writer: &mut SqliteConnection,
    path: &Path,
    format: &Format,
) -> Result<(), OpenError> {
    let fail = |error| OpenError::of(error, path);
    let (known, application) = (format.migrations.len() as i64, format.application);
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    let found = pragma(&mut tx, "PRAGMA user_version").await.map_err(fail)?;
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for step in format.migrations.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *tx).await.map_err(fail)?;
    }
    if found < known {
        let marks = format!("PRAGMA user_version = {known}; PRAGMA application_id = {application}");
        let marks = sqlx::raw_sql(sqlx::AssertSqlSafe(marks));
        marks.execute(&mut *tx).await.map_err(fail)?;
    }
    tx.commit().await.map_err(fail)
}

async fn check_found(reader: &mut SqliteConnection, options: &Options) -> Result<(), OpenError> {
    let path = &options.path;
    let fail = |error| OpenError::of(error, path);
    recognise(reader, path, &FORMAT).await?;
    let known = FORMAT.migrations.len() as i64;
    let found = pragma(reader, "PRAGMA user_version").await.map_err(fail)?;
    if found == 0 {
        return Ok(());
    }
    if found > known {
        return Err(OpenError::Newer { path: path.clone(), found, known });
    }
    let kept = kept_check(reader).await.map_err(fail)?;
    match (kept, options.key.clone().map(Sealer::new)) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(OpenError::KeyMissing { path: path.clone() }),
        (Some((salt, value)), Some(sealer)) if sealer.checks(&salt, value.clone()) => Ok(()),
        (Some(_), Some(_)) => Err(OpenError::KeyWrong { path: path.clone() }),
    }
}

/// The salt and the value that only the right key opens.
async fn kept_check(reader: &mut SqliteConnection) -> sqlx::Result<Option<(Vec<u8>, Vec<u8>)>> {
    sqlx::query_as("SELECT salt, value FROM key_check").fetch_optional(reader).await
}

async fn check_key(
    writer: &mut SqliteConnection,
    sealer: Option<&Sealer>,
    path: &Path,
) -> Result<(), OpenError> {
    let fail = |error| OpenError::of(error, path);
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    let kept = kept_check(&mut tx).await.map_err(fail)?;
    match (kept, sealer) {
        (None, None) => return Ok(()),
        (Some(_), None) => return Err(OpenError::KeyMissing { path: path.to_owned() }),
        (Some((salt, value)), Some(sealer)) if sealer.checks(&salt, value.clone()) => return Ok(()),
        (Some(_), Some(_)) => return Err(OpenError::KeyWrong { path: path.to_owned() }),
        (None, Some(sealer)) => {
            let unable = |fault: Fault| OpenError::Unavailable {
                path: path.to_owned(),
                detail: fault.to_string(),
            };
            let salt = Sealer::salt().map_err(unable)?;
            let value = sealer.check_value(&salt).map_err(unable)?;
            let insert = sqlx::query("INSERT INTO key_check VALUES (?, ?)").bind(salt).bind(value);
            insert.execute(&mut *tx).await.map_err(fail)?;
        }
    }
    tx.commit().await.map_err(fail)
}

async fn pragma(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<i64> {
    sqlx::query_scalar(sql).fetch_one(connection).await
}
