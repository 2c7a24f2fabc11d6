//! Numbers that people have ordered for services: a level of degradation, a count of copies.
//! In a file each, so that they survive a restart.

use super::overrides::write;
use evenkeel_domain::clock;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// An order by hand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) service: String,
    /// How it was first called.
    #[serde(alias = "level")]
    pub(super) value: u32,
    pub(super) owner: String,
    pub(super) until_unix_ms: Option<u64>,
}

/// Orders by hand.
#[derive(Debug)]
pub(super) struct Orders {
    file: PathBuf,
    all: Mutex<Vec<Order>>,
}

impl Orders {
    /// Those of a file in the state directory.
    pub(super) fn load(state_dir: &Path, file: &str) -> Arc<Self> {
        let file = state_dir.join(file);
        let all = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(file = %file.display(), %error, "orders are unreadable; none hold");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Arc::new(Self { file, all: Mutex::new(all) })
    }

    /// In place of what was ordered for the service before; `None`: nothing any more.
    ///
    /// # Errors
    /// When it cannot be written down; then it does not hold.
    pub(super) fn set(&self, service: &str, order: Option<Order>) -> io::Result<()> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = all.clone();
        next.retain(|o| o.service != service);
        next.extend(order);
        write(&self.file, &next)?;
        *all = next;
        Ok(())
    }

    /// The order that holds for a service.
    pub(super) fn of(&self, service: &str) -> Option<Order> {
        let now = clock::unix_millis();
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |o: &&Order| o.service == service && o.until_unix_ms.is_none_or(|u| u > now);
        all.iter().find(holds).cloned()
    }
}
