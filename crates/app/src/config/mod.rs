//! The configuration file: its shape, its reading, its checks.
//!
//! ```text
//! text ─► parse (toml, line and key of each error) ─► check (contradictions, all of them)
//!      ─► Config ─┬─► gateway: table, replicas
//!                 └─► keeper: listeners, instances
//! ```

mod answers;
mod batch;
mod check;
mod file;
mod located;
pub(crate) mod replicas;
mod trace;

pub(crate) use batch::{check_store, open_store, store_options};
pub(crate) use file::{Config, LogFormat, ReplicaConfig, ServiceConfig, TlsConfig, TraceConfig};
pub(crate) use located::{ConfigError, ConfigErrors};
pub(crate) use trace::{Collector, collector};

use std::path::{Path, PathBuf};

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "evenkeel.toml";

/// Parses and checks a configuration.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let config: Config = toml::from_str(text)
        .map_err(|error| ConfigErrors::one(ConfigError::syntax(path, text, &error)))?;
    let problems = check::check(&config);
    if problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigErrors(problems.into_iter().map(|p| p.locate(path, text)).collect()))
}

/// Reads, parses and checks a file; gives its text, too.
pub(crate) fn load(path: &Path) -> Result<(String, Config), ConfigErrors> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigErrors::one(ConfigError::unreadable(path, &error)))?;
    let config = parse(path, &text)?;
    Ok((text, config))
}

/// Where state is kept: set, or systemd's, or the user's.
pub(crate) fn state_dir(config: &Config) -> PathBuf {
    if let Some(dir) = &config.state_dir {
        return dir.clone();
    }
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("STATE_DIRECTORY")
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("evenkeel")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/state/evenkeel")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/evenkeel"))
}

#[cfg(test)]
mod tests;
