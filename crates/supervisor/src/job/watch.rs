//! Which checkpoints have become whole: looked at again and again while a job runs.

use super::checkpoint::{self, Look, Manifest};
use super::plan::millis;
use evenkeel_domain::job::CheckpointSettings;
use std::collections::BTreeMap;

/// What is known of checkpoints that do not count yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// What was there before this start and does not count: what a process that died was in
    /// the middle of. It may count once it is written anew.
    void: BTreeMap<String, Look>,
    /// Being written, or quiet since.
    pending: BTreeMap<String, (Look, u64)>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// These count now, oldest first.
    pub(super) whole: Vec<Manifest>,
    /// Whether any was written to.
    pub(super) written: bool,
}

/// When a look is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) now_ms: u64,
    /// When the job last moved otherwise.
    pub(super) moved_ms: u64,
    /// Whether it has reached its end: then nothing is in the middle of being written.
    pub(super) done: bool,
}

impl Watch {
    /// Before a start: what is there now and not known to be good does not count.
    pub(super) fn begin(settings: &CheckpointSettings, good: &[String]) -> Self {
        let names = checkpoint::names(&settings.dir, &settings.pattern);
        let others = names.into_iter().filter(|name| !good.contains(name));
        let look = |name: String| {
            let look = checkpoint::look(&settings.dir.join(&name)).ok()?;
            Some((name, look))
        };
        Self { void: others.filter_map(look).collect(), pending: BTreeMap::new() }
    }

    /// Looks at what does not count yet.
    pub(super) fn look(&mut self, settings: &CheckpointSettings, good: &[String], at: At) -> Found {
        let names = checkpoint::names(&settings.dir, &settings.pattern);
        let newest = names.last().cloned().unwrap_or_default();
        let mut found = Found::default();
        for name in names.into_iter().filter(|name| !good.contains(name)) {
            let Ok(look) = checkpoint::look(&settings.dir.join(&name)) else { continue };
            if look.is_empty() || self.void.get(&name) == Some(&look) {
                continue;
            }
            let since = match self.pending.get(&name) {
                Some((before, since)) if *before == look => *since,
                _ => {
                    found.written = true;
                    self.pending.insert(name.clone(), (look.clone(), at.now_ms));
                    at.now_ms
                }
            };
            if !is_whole(settings, &name, since, at, name != newest) {
                continue;
            }
            match Manifest::make(&settings.dir, &name) {
                Ok(manifest) => {
                    self.pending.remove(&name);
                    self.void.remove(&name);
                    found.whole.push(manifest);
                }
                // It is looked at again.
                Err(error) => tracing::debug!(name, %error, "a checkpoint cannot be read yet"),
            }
        }
        found
    }
}

fn is_whole(settings: &CheckpointSettings, name: &str, since: u64, at: At, older: bool) -> bool {
    if let Some(marker) = &settings.complete {
        let there = settings.dir.join(name).join(marker).exists();
        return there && (at.done || at.now_ms.saturating_sub(since) >= millis(settings.quiet));
    }
    // Quiet alone says nothing: it may be stopped in the middle of a write.
    let quiet = at.now_ms.saturating_sub(since) >= millis(settings.quiet);
    at.done || (quiet && (older || at.moved_ms > since))
}
