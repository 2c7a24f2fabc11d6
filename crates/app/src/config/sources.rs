//! The texts that a configuration is made of: its own, and that of the key file it names.

use super::check;
use super::file::Config;
use super::keys::KeyFile;
use super::located::{ConfigError, ConfigErrors, Problem};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What was read. Keeper and gateway go by the same, whatever the files say meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sources {
    /// The configuration.
    pub(crate) text: String,
    /// The key file, where one is named.
    #[serde(default)]
    pub(crate) keys: Option<String>,
}

/// The key file that a configuration names: relative to it, whatever else is wrong with it.
pub(crate) fn key_file(path: &Path, text: &str) -> Option<PathBuf> {
    let table: toml::Table = text.parse().ok()?;
    let named = table.get("gateway")?.get("keys")?.as_str()?;
    Some(beside(path, Path::new(named)))
}

/// A path that is relative to the configuration.
pub(crate) fn beside(path: &Path, named: &Path) -> PathBuf {
    path.parent().map_or_else(|| named.to_owned(), |dir| dir.join(named))
}

impl Sources {
    /// Reads both files.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::one(ConfigError::unreadable(path, &error)))?;
        Self::with(path, text)
    }

    /// Reads the key file that this text of the configuration names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn with(path: &Path, text: String) -> Result<Self, ConfigErrors> {
        let Some(file) = key_file(path, &text) else { return Ok(Self { text, keys: None }) };
        match std::fs::read_to_string(&file) {
            Ok(keys) => Ok(Self { text, keys: Some(keys) }),
            Err(error) => {
                let message = format!("{}: {}", file.display(), unreadable(&error));
                let problem = Problem { key: "gateway.keys".into(), message };
                Err(ConfigErrors::one(problem.locate(path, &text)))
            }
        }
    }

    /// Parses and checks; keys of both files are the configuration's.
    ///
    /// # Errors
    /// With all that is wrong.
    pub(crate) fn parse(&self, path: &Path) -> Result<Config, ConfigErrors> {
        let mut config: Config = toml::from_str(&self.text)
            .map_err(|error| ConfigErrors::one(ConfigError::syntax(path, &self.text, &error)))?;
        let file = config.gateway.keys.as_ref().map(|named| beside(path, named));
        let own = config.key.len();
        let further = file.as_deref().zip(self.keys.as_deref());
        if let Some((file, keys)) = further {
            let read: KeyFile = toml::from_str(keys)
                .map_err(|error| ConfigErrors::one(ConfigError::syntax(file, keys, &error)))?;
            config.key.extend(read.key);
        }
        let problems = check::check(&config);
        if problems.is_empty() {
            return Ok(config);
        }
        let located = problems.into_iter().map(|problem| match further {
            Some((file, keys)) => match in_key_file(&problem, own) {
                Some(problem) => problem.locate(file, keys),
                None => problem.locate(path, &self.text),
            },
            None => problem.locate(path, &self.text),
        });
        Err(ConfigErrors(located.collect()))
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; `evenkeel key new ID` makes one".into(),
        _ => format!("cannot be read: {error}; check its rights"),
    }
}

/// A problem with one of the keys behind the configuration's own, as the key file counts them.
fn in_key_file(problem: &Problem, own: usize) -> Option<Problem> {
    let (at, below) = problem.key.strip_prefix("key[")?.split_once(']')?;
    let at = at.parse::<usize>().ok()?.checked_sub(own)?;
    Some(Problem { key: format!("key[{at}]{below}"), message: problem.message.clone() })
}
