//! PostgreSQL: whether it lets us in and answers, how many of its connections are used, how
//! far a standby is behind.

use super::place::{self, Schemes};
use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use evenkeel_domain::clock;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "postgresql",
    keys: &["url", "password_file", "ca"],
    measures: &[
        above("connections", Unit::Share),
        above("latency", Unit::Seconds),
        above("lag", Unit::Seconds),
        above("connected", Unit::Number),
    ],
    silence: CheckState::Critical,
    build,
};

const SCHEMES: Schemes = &[("postgresql", 5432, false), ("postgres", 5432, false)];

/// Connected, how many may be, and seconds behind (none on a primary). A standby that has
/// replayed all it received is not behind, however long nothing was written.
const QUESTION: &str = "select \
    (select coalesce(sum(numbackends), 0) from pg_stat_database)::float8, \
    current_setting('max_connections')::float8, \
    case when not pg_is_in_recovery() then null \
         when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0 \
         else extract(epoch from now() - pg_last_xact_replay_timestamp()) end::float8";

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    place::read(settings, SCHEMES)?;
    let url = settings.url.as_deref().unwrap_or_default();
    let options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| ("url".to_owned(), error.to_string()))?;
    let mut options = options.application_name("evenkeel").disable_statement_logging();
    if let Some(password) = place::secret("password_file", settings.password_file.as_deref())? {
        options = options.password(password.expose());
    }
    if let Some(ca) = &settings.ca {
        options = options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca);
    }
    Ok(Box::new(PostgreSql { options }))
}

struct PostgreSql {
    options: PgConnectOptions,
}

/// Its options hold the password.
impl std::fmt::Debug for PostgreSql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgreSql").finish_non_exhaustive()
    }
}

fn failed(error: sqlx::Error) -> Trouble {
    let code = error.as_database_error().and_then(|e| e.code());
    let helps = match code.as_deref() {
        Some("28P01" | "28000") => "; correct the user in `url` or `password_file`",
        Some("3D000") => "; correct the database in `url`",
        Some("53300") => "; all its connections are used",
        Some("57P03") => "; it is starting or stopping",
        _ => "",
    };
    Trouble::Failed(format!("{error}{helps}"))
}

impl PostgreSql {
    async fn look(&self) -> Result<Reading, Trouble> {
        let began = clock::now();
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(failed)?;
        let asked = sqlx::query_as(QUESTION).fetch_one(&mut connection).await;
        let (connected, most, lag): (f64, f64, Option<f64>) = asked.map_err(failed)?;
        let took = clock::now().saturating_duration_since(began);
        // A polite end; that it failed would say nothing.
        let _ = connection.close().await;
        let mut values = vec![
            value("connections", share(connected, most), Unit::Share),
            value("latency", took.as_secs_f64(), Unit::Seconds),
            value("connected", connected, Unit::Number),
        ];
        values.extend(lag.map(|lag| value("lag", lag.max(0.0), Unit::Seconds)));
        Ok(Reading::of(values))
    }
}

impl Source for PostgreSql {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(self.look())
    }
}
