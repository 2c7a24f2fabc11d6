//! The shape of `[[channel]]`.

use evenkeel_domain::replica::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A way by which people, or what calls them, are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// Its name.
    pub name: String,
    /// What is there: `webhook`, `slack`, `pagerduty`, `alertmanager`, `email` or `command`.
    pub kind: String,
    /// How long one message may take.
    #[serde(default = "timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Where it is, for all but `command`: `https://…`, for `email` `smtp://`, `smtps://` or
    /// `smtp+plain://` (to this machine only). PagerDuty has its usual place without it.
    #[serde(default)]
    pub url: Option<Secret>,
    /// File with that on its first line: a URL may be a secret itself.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Environment variable with it.
    #[serde(default)]
    pub url_env: Option<String>,
    /// For `webhook`: signs each message; for `pagerduty`: the routing key; for `alertmanager`:
    /// a bearer token; for `email`: the password of `user`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// File with the secret on its first line.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Environment variable with it.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// Authority to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who signs in, for `email`.
    #[serde(default)]
    pub user: Option<String>,
    /// Sender, for `email`.
    #[serde(default)]
    pub from: Option<String>,
    /// Recipients, for `email`.
    #[serde(default)]
    pub to: Vec<String>,
    /// Program and arguments, for `command`.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Most answer within a second; a mail server that looks names up takes longer.
fn timeout() -> Duration {
    Duration::from_secs(10)
}

/// (key, what is wrong with it and what helps).
pub type Wrong = (&'static str, String);

impl ChannelSettings {
    /// The place, if one is given.
    ///
    /// # Errors
    /// When it is given twice, or cannot be read.
    pub fn place(&self) -> Result<Option<Secret>, Wrong> {
        read([
            ("url", self.url.clone().map(Ok)),
            ("url_file", self.url_file.as_ref().map(from_file)),
            ("url_env", self.url_env.as_deref().map(from_env)),
        ])
    }

    /// The secret, if one is given.
    ///
    /// # Errors
    /// When it is given twice, or cannot be read.
    pub fn key(&self) -> Result<Option<Secret>, Wrong> {
        read([
            ("secret", self.secret.clone().map(Ok)),
            ("secret_file", self.secret_file.as_ref().map(from_file)),
            ("secret_env", self.secret_env.as_deref().map(from_env)),
        ])
    }

    /// Keys that are set and that belong to some kinds only.
    pub(crate) fn own_keys(&self) -> Vec<&'static str> {
        [
            ("url", self.url.is_some() || self.url_file.is_some() || self.url_env.is_some()),
            (
                "secret",
                self.secret.is_some() || self.secret_file.is_some() || self.secret_env.is_some(),
            ),
            ("ca", self.ca.is_some()),
            ("user", self.user.is_some()),
            ("from", self.from.is_some()),
            ("to", !self.to.is_empty()),
            ("command", !self.command.is_empty()),
        ]
        .into_iter()
        .filter_map(|(key, set)| set.then_some(key))
        .collect()
    }
}

type Given = (&'static str, Option<Result<Secret, String>>);

fn read(all: [Given; 3]) -> Result<Option<Secret>, Wrong> {
    let mut given = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let Some((key, value)) = given.next() else { return Ok(None) };
    if let Some((other, _)) = given.next() {
        return Err((other, format!("`{key}` gives it already; give one of both")));
    }
    let value = value.map_err(|text| (key, text))?;
    match value.expose().trim().is_empty() {
        true => Err((key, "is empty".into())),
        false => Ok(Some(value)),
    }
}

fn from_file(path: &PathBuf) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("{}: cannot be read: {e}; check path and rights", path.display()))?;
    let first = text.lines().next().unwrap_or_default().trim();
    match first.is_empty() {
        true => Err(format!("{}: is empty; put it on its first line", path.display())),
        false => Ok(Secret::new(first.to_owned())),
    }
}

fn from_env(name: &str) -> Result<Secret, String> {
    let value = std::env::var(name);
    value.map(Secret::new).map_err(|_| format!("`{name}` is not in the environment of Evenkeel"))
}
