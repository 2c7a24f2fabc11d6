//! Settings of files and batches, as the configuration file spells them under `[batch]`.
//!
//! Every default stands beside the reason for it. Durations are written `"24h"`, `"500ms"`.

use evenkeel_domain::durable::{Limits, PIECE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of files and batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// The store's file. In the state directory if absent.
    pub path: Option<PathBuf>,
    /// A file with the key that seals content: 32 random bytes as 64 hex digits or base64.
    /// Without a key content is stored as it is.
    pub key_file: Option<PathBuf>,
    /// An environment variable with that key, instead of a file.
    pub key_env: Option<String>,
    /// Largest file, in bytes: OpenAI's bound for batches.
    pub max_file_bytes: u64,
    /// All content together, in bytes; beyond it uploads are refused. Answers to what was
    /// accepted may use as much again.
    pub max_bytes: u64,
    /// Files.
    pub max_files: u64,
    /// Uploads at once: each holds some 2 MiB of memory.
    pub max_uploads: usize,
    /// Lines of a batch: OpenAI's bound.
    pub max_lines: u32,
    /// Bytes of a line. Sixteen lines under way and their answers then take 80 MiB at most.
    pub max_line_bytes: usize,
    /// Bytes of an answer; a longer one is an error of its line.
    pub max_answer_bytes: usize,
    /// Batches that have not ended.
    pub max_open_batches: u64,
    /// Requests of batches under way at once. What the replicas cannot take is found out and
    /// respected; this is the bound when they can take anything.
    pub concurrency: usize,
    /// Batches whose lines are sent in turn; further ones wait. Each takes 0.8 MiB of memory
    /// for 50,000 lines.
    pub active_batches: usize,
    /// How long a batch may take: what clients call `"24h"`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// How long files for batches are kept unless their owner says otherwise: OpenAI's
    /// 30 days. Other files stay until they are deleted.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub file_expiry: Duration,
    /// How long batches that are over are remembered.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retention: Duration,
    /// How long requests under way may take once their batch is cancelled. OpenAI allows
    /// ten minutes; what was cancelled is rarely wanted, and holds up what is.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub cancel_grace: Duration,
    /// Attempts of a line that a server fault ends (500, 502, 504), the first included. What
    /// is refused for want of room (429, 503) is tried until the batch expires.
    pub attempts: u32,
    /// First pause of a batch after a refusal; doubles, jittered.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff_max: Duration,
    /// How long after the death of the process that executes batches another may begin to.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            path: None,
            key_file: None,
            key_env: None,
            max_file_bytes: 200 << 20,
            max_bytes: 10 << 30,
            max_files: 10_000,
            max_uploads: 16,
            max_lines: 50_000,
            max_line_bytes: 1 << 20,
            max_answer_bytes: 4 << 20,
            max_open_batches: 1000,
            concurrency: 16,
            active_batches: 8,
            window: Duration::from_secs(DAY),
            file_expiry: Duration::from_secs(30 * DAY),
            retention: Duration::from_secs(30 * DAY),
            cancel_grace: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            lease: Duration::from_secs(10),
        }
    }
}

impl BatchSettings {
    /// The limits to open a store with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_bytes: self.max_bytes,
            max_files: self.max_files,
            max_open_batches: self.max_open_batches,
        }
    }

    /// What contradicts itself: the key, and what helps.
    ///
    /// # Errors
    /// The first contradiction that is found.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let rules = [
            (
                self.key_file.is_some() && self.key_env.is_some(),
                "key_env",
                "set one of `key_file` and `key_env`",
            ),
            (
                self.max_file_bytes > self.max_bytes,
                "max_file_bytes",
                "one file must fit into `max_bytes`",
            ),
            (
                self.max_line_bytes as u64 > self.max_file_bytes,
                "max_line_bytes",
                "one line must fit into `max_file_bytes`",
            ),
            (self.max_line_bytes < 1024, "max_line_bytes", "a line needs 1024 bytes at least"),
            (
                self.max_answer_bytes < PIECE,
                "max_answer_bytes",
                "an answer needs 65536 bytes at least",
            ),
            (self.max_lines == 0, "max_lines", "a batch needs a line"),
            (self.max_uploads == 0, "max_uploads", "uploads need one at least"),
            (self.active_batches == 0, "active_batches", "one batch at least must be active"),
            (self.attempts == 0, "attempts", "the first attempt counts"),
            (
                self.backoff > self.backoff_max,
                "backoff",
                "it must not be longer than `backoff_max`",
            ),
            (
                self.backoff.is_zero(),
                "backoff",
                "without a pause a busy service is never left alone",
            ),
            (
                self.lease < Duration::from_millis(100),
                "lease",
                "it takes 100 ms at least to keep it",
            ),
        ];
        match rules.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, key, remedy)) => Err((key, remedy)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(BatchSettings::default().check(), Ok(()));
    }

    #[test]
    fn contradictions_are_named() {
        let with = |change: fn(&mut BatchSettings)| {
            let mut settings = BatchSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().0
        };
        assert_eq!(with(|s| (s.max_bytes, s.max_line_bytes) = (9, 2000)), "max_file_bytes");
        assert_eq!(with(|s| s.attempts = 0), "attempts");
        assert_eq!(with(|s| s.backoff = Duration::from_secs(99)), "backoff");
        let both = |s: &mut BatchSettings| {
            s.key_env = Some("KEY".into());
            s.key_file = Some("key".into());
        };
        assert_eq!(with(both), "key_env");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let read = |json| serde_json::from_str::<BatchSettings>(json);
        assert_eq!(read(r#"{"window":"1h"}"#).unwrap().window, Duration::from_secs(HOUR));
        assert!(read(r#"{"windwo":"1h"}"#).is_err());
    }
}
