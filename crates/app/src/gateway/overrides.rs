//! Operators' orders, kept in a file so that they survive a restart.

use evenkeel_domain::clock;
use evenkeel_health::AuthorityHandle;
use evenkeel_health::operator::Override;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The owner of orders that a restart gives for as long as it takes. They end with the
/// gateway that carries it out: nobody else would undo them.
pub(super) const RESTART: &str = "restart";

/// All orders that hold.
pub(super) struct Overrides {
    file: PathBuf,
    all: Mutex<Vec<Override>>,
    authority: AuthorityHandle,
}

impl Overrides {
    /// Reads the orders of before and tells the authority.
    pub(super) async fn load(state_dir: &Path, authority: AuthorityHandle) -> Arc<Self> {
        let file = state_dir.join("overrides.json");
        let mut all: Vec<Override> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(file = %file.display(), %error, "operators' orders are unreadable; none hold");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        all.retain(|order| order.owner != RESTART);
        let overrides = Self { file, all: Mutex::new(all), authority };
        overrides.authority.overrides(overrides.all()).await;
        Arc::new(overrides)
    }

    /// The orders that hold now.
    pub(super) fn all(&self) -> Vec<Override> {
        let now = clock::unix_millis();
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|o| o.holds(now)).cloned().collect()
    }

    /// Orders for a replica, in place of what was ordered for it before.
    ///
    /// # Errors
    /// When it cannot be written down; then it does not hold.
    pub(super) async fn set(&self, order: Override) -> io::Result<()> {
        let name = order.replica.clone();
        self.change(&name, Some(order)).await
    }

    /// Ends the orders for a replica.
    ///
    /// # Errors
    /// When that cannot be written down; then they still hold.
    pub(super) async fn clear(&self, replica: &str) -> io::Result<()> {
        self.change(replica, None).await
    }

    async fn change(&self, replica: &str, order: Option<Override>) -> io::Result<()> {
        let mut next = self.all();
        next.retain(|o| o.replica != replica);
        next.extend(order);
        write(&self.file, &next)?;
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&next);
        self.authority.overrides(next).await;
        Ok(())
    }
}

/// Writes the whole file anew: it is there in full, or as it was.
pub(super) fn write<T: Serialize>(file: &Path, all: &T) -> io::Result<()> {
    let temporary = file.with_extension("json.new");
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut out = std::fs::File::create(&temporary)?;
    out.write_all(&serde_json::to_vec_pretty(all).map_err(io::Error::other)?)?;
    out.sync_all()?;
    std::fs::rename(&temporary, file)
}
