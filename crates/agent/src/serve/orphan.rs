//! What runs without a keeper goes on; where a limit was set, until that.

use crate::host::Host;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Whether a keeper is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Commanded {
    /// Connections that command; for a moment there may be two.
    pub(super) by: u32,
    /// How long to go on without.
    pub(super) orphan_after: Option<Duration>,
}

/// Stops everything when nobody has commanded for the time that the last one set.
pub(super) async fn run(mut commanded: watch::Receiver<Commanded>, host: Arc<dyn Host>) {
    loop {
        let now = *commanded.borrow_and_update();
        let limit = now.orphan_after.filter(|_| now.by == 0);
        let over = async {
            match limit {
                Some(limit) => sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = commanded.changed() => if changed.is_err() { return },
            () = over => {
                tracing::warn!(?limit, "no keeper for too long: stopping what it had started");
                if let Err(error) = host.orchestrator().apply(Vec::new()).await {
                    tracing::error!(%error, "cannot stop it");
                }
                host.jobs(Vec::new());
                if commanded.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
