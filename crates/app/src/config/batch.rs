//! `[batch]`: where the store is, and with which key.

use super::file::Config;
use evenkeel_batch::BatchSettings;
use evenkeel_store::{Key, KeyError, OpenError, Options, Store};
use std::path::PathBuf;

/// The store's file in the state directory.
const FILE: &str = "store/evenkeel.db";

/// What is wrong with the table: (key, message).
pub(super) fn problem(settings: &BatchSettings) -> Option<(String, String)> {
    if let Err((key, remedy)) = settings.check() {
        return Some((format!("batch.{key}"), remedy.to_owned()));
    }
    let from = if settings.key_file.is_some() { "batch.key_file" } else { "batch.key_env" };
    let remedy = |error: KeyError| match error {
        KeyError::Spelling(_) => error.to_string(),
        KeyError::File { .. } => format!("{error}; check path and rights"),
        KeyError::Env(_) => format!("{error}; set it, or use `key_file`"),
    };
    key(settings).err().map(|error| (from.to_owned(), remedy(error)))
}

fn key(settings: &BatchSettings) -> Result<Option<Key>, KeyError> {
    match (&settings.key_file, &settings.key_env) {
        (Some(file), _) => Key::from_file(file).map(Some),
        (None, Some(name)) => Key::from_env(name).map(Some),
        (None, None) => Ok(None),
    }
}

/// Where the store is.
fn store_path(config: &Config, settings: &BatchSettings) -> PathBuf {
    settings.path.clone().unwrap_or_else(|| super::state_dir(config).join(FILE))
}

/// How to open the store. `writer` names this process in the rows that it writes.
///
/// # Errors
/// When the key is not to be had any more.
pub(crate) fn store_options(
    config: &Config,
    settings: &BatchSettings,
    writer: String,
) -> Result<Options, KeyError> {
    let path = store_path(config, settings);
    Ok(Options { path, key: key(settings)?, limits: settings.limits(), writer })
}

/// Opens the store and closes it again, so that what stands in the way is said before
/// anything is started.
///
/// # Errors
/// One line with a remedy.
pub(crate) fn open_store(config: &Config) -> Result<(), String> {
    on_store(config, async |options| {
        Store::open(options).await?.close().await;
        Ok(())
    })
}

/// Whether the store that is there could be opened. Changes nothing.
///
/// # Errors
/// One line with a remedy.
pub(crate) fn check_store(config: &Config) -> Result<(), String> {
    on_store(config, async |options| Store::check(&options).await)
}

fn on_store(
    config: &Config,
    work: impl AsyncFnOnce(Options) -> Result<(), OpenError>,
) -> Result<(), String> {
    let Some(settings) = &config.batch else { return Ok(()) };
    let options = store_options(config, settings, "check".into());
    let options = options.map_err(|error| format!("batch: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(work(options)).map_err(|error| match error {
        OpenError::Io { .. } => format!("batch.path: {error}; check path and rights"),
        OpenError::Unavailable { .. } => format!("batch.path: {error}; try again"),
        other => format!("batch: {other}"),
    })
}
