//! The account of availability, in one SQLite file of its own: its write every two seconds
//! holds up neither batches nor recovery's journal, and a broken one stops nobody.

use crate::error::{Fault, OpenError};
use crate::open::{self, Format};
use crate::rows::{signed, unsigned};
use crate::tx::{self, Tx, Writer};
use evenkeel_domain::slo::{Added, Axis, Clocks, Delta, Kept, SloFuture, SloStore, Taken, Tally};
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Row, SqliteConnection};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The account: `EVKS`.
const FORMAT: Format =
    Format { application: 0x4556_4b53, migrations: &[include_str!("../migrations/slo-1.sql")] };

/// The account in one SQLite file. What was added is on disk before its call is answered.
#[derive(Debug)]
pub struct SloFile {
    writer: Arc<Mutex<Writer>>,
    name: String,
    path: PathBuf,
}

/// Where something is added.
#[derive(Clone, Copy)]
enum Table {
    Minute,
    Hour,
    Service,
}

impl Table {
    /// The statement that adds to a row and gives what stands there then.
    const fn add(self) -> &'static str {
        macro_rules! add {
            ($insert:literal, $keys:literal, $conflict:literal) => {
                concat!(
                    "INSERT INTO ", $insert, " (", $keys,
                    ", good, bad, in_time, good_down, up_ms, down_ms, planned_ms)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT ", $conflict,
                    " DO UPDATE SET good = good + excluded.good, bad = bad + excluded.bad,
                       in_time = in_time + excluded.in_time,
                       good_down = good_down + excluded.good_down, up_ms = up_ms + excluded.up_ms,
                       down_ms = down_ms + excluded.down_ms,
                       planned_ms = planned_ms + excluded.planned_ms
                     RETURNING good, bad, in_time, good_down, up_ms, down_ms, planned_ms"
                )
            };
        }
        match self {
            Self::Minute => add!("minute", "service, at", "(service, at)"),
            Self::Hour => add!("hour", "service, at", "(service, at)"),
            Self::Service => add!("service", "name, since_ms", "(name)"),
        }
    }
}

impl SloFile {
    /// Opens the account, makes it if there is none, and brings it to the present format.
    /// `writer` names this process in it.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what helps.
    pub async fn open(path: &Path, writer: String) -> Result<Self, OpenError> {
        open::make(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let fail = |error| OpenError::of(error, path);
        let mut connection = open::connect_options(path).connect().await.map_err(fail)?;
        open::recognise(&mut connection, path, &FORMAT).await?;
        open::migrate(&mut connection, path, &FORMAT).await?;
        let held = Arc::new(Mutex::new(Writer::new(connection)));
        Ok(Self { writer: held, name: writer, path: path.to_owned() })
    }

    fn run<'a, T>(
        &'a self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> SloFuture<'a, T> {
        Box::pin(async { work.await.map_err(|fault| fault.told(&self.path)) })
    }

    async fn take_over(&self, now: &Clocks) -> Result<Taken, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let row = sqlx::query("SELECT * FROM account").fetch_one(&mut *tx).await?;
        let last = Last::read(&row)?;
        let gap_ms = last.gap(now);
        let axis_ms = last.axis_ms.map_or(now.wall_ms, |axis| axis.saturating_add(gap_ms));
        let taken = Taken { epoch: last.epoch + 1, axis_ms, gap_ms };
        sqlx::query(
            "UPDATE account SET writer = ?, epoch = ?, taken_boot_ms = ?, axis_ms = ?, boot = ?,
               boot_ms = ?, wall_ms = ?",
        )
        .bind(&self.name)
        .bind(signed(taken.epoch))
        .bind(signed(now.boot_ms))
        .bind(signed(axis_ms))
        .bind(&now.boot)
        .bind(signed(now.boot_ms))
        .bind(signed(now.wall_ms))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken)
    }

    async fn add_all(
        &self,
        epoch: u64,
        now: &Clocks,
        axis_ms: Axis,
        deltas: &[Delta],
    ) -> Result<Added, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let row = sqlx::query("SELECT * FROM account").fetch_one(&mut *tx).await?;
        let last = Last::read(&row)?;
        let fenced = last.epoch != epoch;
        if !fenced {
            let clock = "UPDATE account SET axis_ms = ?, boot = ?, boot_ms = ?, wall_ms = ?";
            sqlx::query(clock)
                .bind(signed(axis_ms))
                .bind(&now.boot)
                .bind(signed(now.boot_ms))
                .bind(signed(now.wall_ms))
                .execute(&mut *tx)
                .await?;
        }
        let timed = !fenced || last.began_after(epoch, now);
        let mut added = Added { fenced, ..Added::default() };
        for delta in deltas {
            let delta = if timed { delta.clone() } else { without_time(delta) };
            let hour = delta.minute / 60;
            let at = |table, key| add_one(table, key, &delta);
            added.minutes.push(at(Table::Minute, delta.minute).run(&mut tx).await?);
            added.hours.push(at(Table::Hour, hour).run(&mut tx).await?);
            added.totals.push(at(Table::Service, delta.since_ms).run(&mut tx).await?);
        }
        tx.commit().await?;
        Ok(added)
    }

    async fn read_all(&self) -> Result<Vec<Kept>, Fault> {
        // One transaction: all of it is of one moment.
        let mut tx = tx::begin(&self.writer).await?;
        let mut all: BTreeMap<String, Kept> = BTreeMap::new();
        for row in &sqlx::query("SELECT * FROM service").fetch_all(&mut *tx).await? {
            let service: String = row.try_get("name")?;
            let since_ms = unsigned(row.try_get("since_ms")?);
            let kept =
                Kept { service: service.clone(), since_ms, total: tally(row)?, ..Kept::default() };
            all.insert(service, kept);
        }
        let minutes = "SELECT * FROM minute ORDER BY service, at";
        for row in &sqlx::query(minutes).fetch_all(&mut *tx).await? {
            if let Some(kept) = all.get_mut(row.try_get::<&str, _>("service")?) {
                kept.minutes.push((unsigned(row.try_get("at")?), tally(row)?));
            }
        }
        let hours = "SELECT * FROM hour ORDER BY service, at";
        for row in &sqlx::query(hours).fetch_all(&mut *tx).await? {
            if let Some(kept) = all.get_mut(row.try_get::<&str, _>("service")?) {
                kept.hours.push((unsigned(row.try_get("at")?), tally(row)?));
            }
        }
        tx.commit().await?;
        Ok(all.into_values().collect())
    }

    async fn cut(&self, epoch: u64, minute: u64, hour: u64) -> Result<u64, Fault> {
        let mut tx = tx::begin(&self.writer).await?;
        let held: i64 = sqlx::query_scalar("SELECT epoch FROM account").fetch_one(&mut *tx).await?;
        if unsigned(held) != epoch {
            tx.commit().await?;
            return Ok(0);
        }
        let minutes = sqlx::query("DELETE FROM minute WHERE at < ?").bind(signed(minute));
        let mut gone = minutes.execute(&mut *tx).await?.rows_affected();
        let hours = sqlx::query("DELETE FROM hour WHERE at < ?").bind(signed(hour));
        gone += hours.execute(&mut *tx).await?.rows_affected();
        let forgotten = "DELETE FROM service WHERE name NOT IN (SELECT service FROM hour)";
        gone += sqlx::query(forgotten).execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(gone)
    }
}

impl SloStore for SloFile {
    fn take<'a>(&'a self, now: &'a Clocks) -> SloFuture<'a, Taken> {
        self.run(self.take_over(now))
    }

    fn load(&self) -> SloFuture<'_, Vec<Kept>> {
        self.run(self.read_all())
    }

    fn add<'a>(
        &'a self,
        epoch: u64,
        now: &'a Clocks,
        axis_ms: Axis,
        deltas: &'a [Delta],
    ) -> SloFuture<'a, Added> {
        self.run(self.add_all(epoch, now, axis_ms, deltas))
    }

    fn prune(&self, epoch: u64, minute: u64, hour: u64) -> SloFuture<'_, u64> {
        self.run(self.cut(epoch, minute, hour))
    }
}

/// The account as it was last written.
struct Last {
    epoch: u64,
    taken_boot_ms: u64,
    axis_ms: Option<Axis>,
    clocks: Clocks,
}

impl Last {
    fn read(row: &SqliteRow) -> Result<Self, Fault> {
        let clocks = Clocks {
            boot: row.try_get("boot")?,
            boot_ms: unsigned(row.try_get("boot_ms")?),
            wall_ms: unsigned(row.try_get("wall_ms")?),
        };
        Ok(Self {
            epoch: unsigned(row.try_get("epoch")?),
            taken_boot_ms: unsigned(row.try_get("taken_boot_ms")?),
            axis_ms: row.try_get::<Option<i64>, _>("axis_ms")?.map(unsigned),
            clocks,
        })
    }

    /// How long nobody has kept it: by the machine's own clock where it has not begun anew
    /// since, else by the wall's, which is all there is then. One that went backwards
    /// meanwhile says nothing.
    fn gap(&self, now: &Clocks) -> u64 {
        match &self.clocks {
            _ if self.axis_ms.is_none() => 0,
            last if last.boot == now.boot => now.boot_ms.saturating_sub(last.boot_ms),
            last => now.wall_ms.saturating_sub(last.wall_ms),
        }
    }

    /// Whether what `epoch` has kept until `now` lies before its successor began.
    fn began_after(&self, epoch: u64, now: &Clocks) -> bool {
        self.epoch == epoch + 1 && self.clocks.boot == now.boot && now.boot_ms <= self.taken_boot_ms
    }
}

fn without_time(delta: &Delta) -> Delta {
    let tally = Tally { up_ms: 0, down_ms: 0, planned_ms: 0, ..delta.tally };
    Delta { tally, ..delta.clone() }
}

struct Addition<'a> {
    table: Table,
    key: u64,
    delta: &'a Delta,
}

const fn add_one(table: Table, key: u64, delta: &Delta) -> Addition<'_> {
    Addition { table, key, delta }
}

impl Addition<'_> {
    async fn run(&self, tx: &mut Tx) -> Result<Delta, Fault> {
        let t = &self.delta.tally;
        let connection: &mut SqliteConnection = tx;
        let row = sqlx::query(self.table.add())
            .bind(&self.delta.service)
            .bind(signed(self.key))
            .bind(signed(t.good))
            .bind(signed(t.bad))
            .bind(signed(t.in_time))
            .bind(signed(t.good_down))
            .bind(signed(t.up_ms))
            .bind(signed(t.down_ms))
            .bind(signed(t.planned_ms))
            .fetch_one(connection)
            .await?;
        Ok(Delta { minute: self.key, tally: tally(&row)?, ..self.delta.clone() })
    }
}

fn tally(row: &SqliteRow) -> Result<Tally, Fault> {
    let read = |column: &str| row.try_get(column).map(unsigned);
    Ok(Tally {
        good: read("good")?,
        bad: read("bad")?,
        in_time: read("in_time")?,
        good_down: read("good_down")?,
        up_ms: read("up_ms")?,
        down_ms: read("down_ms")?,
        planned_ms: read("planned_ms")?,
    })
}
