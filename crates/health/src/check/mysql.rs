//! MySQL and MariaDB: whether they let us in and answer, how many of their connections are
//! used, how far a replica is behind.

use super::place::{self, Schemes};
use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use evenkeel_domain::clock;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Row};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "mysql",
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

const SCHEMES: Schemes = &[("mysql", 3306, false), ("mariadb", 3306, false)];

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    place::read(settings, SCHEMES)?;
    let url = settings.url.as_deref().unwrap_or_default();
    let options: MySqlConnectOptions =
        url.parse().map_err(|error: sqlx::Error| ("url".to_owned(), error.to_string()))?;
    let mut options = options.disable_statement_logging();
    if let Some(password) = place::secret("password_file", settings.password_file.as_deref())? {
        options = options.password(password.expose());
    }
    if let Some(ca) = &settings.ca {
        options = options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(ca);
    }
    Ok(Box::new(MySql { options }))
}

struct MySql {
    options: MySqlConnectOptions,
}

/// Its options hold the password.
impl std::fmt::Debug for MySql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySql").finish_non_exhaustive()
    }
}

fn failed(error: sqlx::Error) -> Trouble {
    let text = error.to_string();
    let helps = match () {
        () if text.contains("1045") => "; correct the user in `url` or `password_file`",
        () if text.contains("1049") => "; correct the database in `url`",
        () if text.contains("1040") => "; all its connections are used",
        () => "",
    };
    Trouble::Failed(format!("{text}{helps}"))
}

/// How far a replica is behind, or that it does not replicate; nothing where it is none, or
/// where the user has no right to ask (REPLICATION CLIENT, in MariaDB REPLICA MONITOR).
fn replication(row: &MySqlRow) -> (Option<f64>, Option<(CheckState, String)>) {
    let names = ["Seconds_Behind_Source", "Seconds_Behind_Master"];
    let lag = names.iter().find_map(|name| {
        // Signed in one, unsigned in the other; absent while it does not run.
        let signed = row.try_get::<Option<i64>, _>(*name).map(|n| n.map(|n| n as f64));
        signed.or_else(|_| row.try_get::<Option<u64>, _>(*name).map(|n| n.map(|n| n as f64))).ok()
    });
    match lag {
        Some(Some(lag)) => (Some(lag), None),
        Some(None) => (None, Some((CheckState::Critical, "its replication does not run".into()))),
        None => (None, None),
    }
}

impl MySql {
    async fn look(&self) -> Result<Reading, Trouble> {
        let began = clock::now();
        let mut connection = MySqlConnection::connect_with(&self.options).await.map_err(failed)?;
        let asked = sqlx::query_as("select cast(@@max_connections as double)");
        let (most,): (f64,) = asked.fetch_one(&mut connection).await.map_err(failed)?;
        let took = clock::now().saturating_duration_since(began);
        let asked = sqlx::query("show global status like 'Threads_connected'");
        let row = asked.fetch_one(&mut connection).await.map_err(failed)?;
        let connected = row.try_get::<String, _>(1).ok().and_then(|n| n.parse::<f64>().ok());
        let (lag, said) =
            match sqlx::query("show replica status").fetch_optional(&mut connection).await {
                Ok(Some(row)) => replication(&row),
                Ok(None) | Err(_) => (None, None),
            };
        // A polite end; that it failed would say nothing.
        let _ = connection.close().await;
        let mut values = vec![value("latency", took.as_secs_f64(), Unit::Seconds)];
        if let Some(connected) = connected {
            values.insert(0, value("connections", share(connected, most), Unit::Share));
            values.push(value("connected", connected, Unit::Number));
        }
        values.extend(lag.map(|lag| value("lag", lag, Unit::Seconds)));
        Ok(Reading { parts: vec![Part { said, values, ..Part::default() }] })
    }
}

impl Source for MySql {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(self.look())
    }
}
