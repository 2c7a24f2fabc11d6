//! The configuration file: its shape, its reading, its checks.
//!
//! ```text
//! text ─► parse (toml, line and key of each error) ─► check (contradictions, all of them)
//!      ─► Config ─┬─► gateway: table, replicas
//!                 └─► keeper: listeners, instances
//! ```

mod alert;
mod answers;
mod batch;
mod check;
mod checks;
mod file;
mod job;
pub(crate) mod keys;
mod located;
mod node;
mod playbook;
mod recovery;
pub(crate) mod replicas;
mod scale;
mod service;
mod slo;
mod sources;
pub(crate) mod standby;
mod trace;

pub(crate) use alert::{alerts_path, channels, policy};
pub(crate) use batch::{check_store, open_store, store_options};
pub(crate) use checks::all as all_checks;
pub(crate) use file::{Config, LogFormat, TlsConfig, TraceConfig};
pub(crate) use located::{ConfigError, ConfigErrors, Problem};
pub(crate) use node::is_address;
pub(crate) use recovery::{account_path, book, journal_path};
pub(crate) use scale::first_size;
pub(crate) use service::{ReplicaConfig, ServiceConfig};
pub(crate) use sources::{Sources, beside, key_file};
pub(crate) use trace::{Collector, collector};

use evenkeel_domain::settings::ServiceSettings;
use std::path::{Path, PathBuf};

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "evenkeel.toml";

/// Parses and checks a configuration that names no key file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, ConfigErrors> {
    Sources { text: text.to_owned(), keys: None }.parse(path)
}

/// Reads, parses and checks a file; gives what was read, too.
pub(crate) fn load(path: &Path) -> Result<(Sources, Config), ConfigErrors> {
    let sources = Sources::read(path)?;
    let config = sources.parse(path)?;
    Ok((sources, config))
}

/// A service's settings, with what playbooks let be done about it.
pub(crate) fn settings(config: &Config, service: &ServiceConfig) -> ServiceSettings {
    let mut settings = service.settings();
    settings.answers.fails_over = playbook::fails_over(config, &service.name);
    settings
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
