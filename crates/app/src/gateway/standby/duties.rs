//! Which standbys are on their way or on duty: a small file, so that a gateway that follows
//! goes on without the journal.

use super::super::overrides;
use evenkeel_domain::standby::Duty;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// One standby that does not stand by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) duty: Duty,
    /// The replica whose incident asked for it; empty for none.
    pub(super) instead_of: String,
    /// A person promoted it.
    pub(super) by_hand: bool,
    /// Since when it has this duty, by the wall clock.
    pub(super) since_unix_ms: u64,
    /// Since when too few took traffic, when it was promoted.
    pub(super) lost_unix_ms: Option<u64>,
    /// How long it took from then to its first answer.
    pub(super) took_ms: Option<u64>,
}

/// All of them, by replica.
pub(super) struct Duties {
    all: BTreeMap<String, Held>,
    /// To whoever writes the file: clients do not wait for a slow disk.
    written: watch::Sender<BTreeMap<String, Held>>,
}

impl Duties {
    /// Reads what an earlier gateway has left.
    pub(super) fn load(state_dir: &Path) -> Self {
        let file = state_dir.join("standby.json");
        let all = read(&file).unwrap_or_else(|error| {
            let file = file.display();
            tracing::error!(%file, %error, "the duties of standbys are unreadable; all stand by");
            BTreeMap::new()
        });
        let (written, mut changes) = watch::channel(BTreeMap::new());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let (file, all) = (file.clone(), changes.borrow_and_update().clone());
                // It ends with the process only.
                let _ = spawn_blocking(move || write(&file, &all)).await;
            }
        });
        Self { all, written }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Held> {
        self.all.get(name)
    }

    pub(super) fn all(&self) -> &BTreeMap<String, Held> {
        &self.all
    }

    /// The duty of a standby.
    pub(super) fn of(&self, name: &str) -> Duty {
        self.all.get(name).map_or(Duty::Standby, |held| held.duty)
    }

    /// Takes a change over; it is on disk soon after. Where it cannot be written it holds all
    /// the same: clients wait, and only a gateway that follows would not know.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, Held>)) {
        let before = self.all.clone();
        change(&mut self.all);
        if self.all != before {
            self.written.send_replace(self.all.clone());
        }
    }
}

/// Empty where nobody has left any.
fn read(file: &Path) -> io::Result<BTreeMap<String, Held>> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, all: &BTreeMap<String, Held>) {
    if let Err(error) = overrides::write(file, all) {
        let file = file.display();
        tracing::error!(%file, %error, "the duties of standbys cannot be written; make room there or correct its rights");
    }
}
