//! What is known of a job beyond this process: in a file of the state directory, written
//! whole.

use super::checkpoint::Manifest;
use evenkeel_domain::job::{JobFailure, JobStage};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// Failures that are remembered: more than any sensible `max_restarts`.
const FAILURES: usize = 256;
/// Checkpoints that are remembered; older ones are not gone back to.
const CHECKPOINTS: usize = 64;
/// Names of broken ones that are shown.
const BROKEN: usize = 16;

/// A job's past.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// How it ended, once it has: done, given up or stopped; and why.
    pub(super) end: Option<(JobStage, String)>,
    pub(super) starts: u64,
    pub(super) failures: u64,
    /// Those that count against it, oldest first.
    pub(super) counted: Vec<JobFailure>,
    pub(super) lost_ms: u64,
    /// Checkpoints that count, oldest first.
    pub(super) checkpoints: Vec<Manifest>,
    pub(super) broken: Vec<String>,
}

impl Record {
    /// Reads it; a job without one is new.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes it, in full or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = file.with_extension("json.new");
        let mut out = std::fs::File::create(&new)?;
        out.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
        out.sync_all()?;
        std::fs::rename(new, file)
    }

    pub(super) fn failed(&mut self, failure: JobFailure) {
        self.failures += 1;
        self.lost_ms = self.lost_ms.saturating_add(failure.lost_ms);
        self.counted.push(failure);
        let over = self.counted.len().saturating_sub(FAILURES);
        self.counted.drain(..over);
    }

    pub(super) fn keep(&mut self, manifest: Manifest) {
        self.checkpoints.retain(|known| known.name != manifest.name);
        self.checkpoints.push(manifest);
        let over = self.checkpoints.len().saturating_sub(CHECKPOINTS);
        self.checkpoints.drain(..over);
    }

    pub(super) fn broke(&mut self, name: &str) {
        self.broken.retain(|known| known != name);
        self.broken.push(name.to_owned());
        let over = self.broken.len().saturating_sub(BROKEN);
        self.broken.drain(..over);
    }

    /// The newest checkpoint that counts.
    pub(super) fn last(&self) -> Option<&Manifest> {
        self.checkpoints.last()
    }
}
