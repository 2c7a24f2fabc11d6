//! The suite of the port, on the local orchestrator.

use evenkeel_domain::orchestrator::{Orchestrator, suite};
use std::sync::Arc;

use crate::support::Bench;

#[tokio::test]
async fn the_local_orchestrator_does_what_all_must() {
    suite::all(|| async {
        let Bench { supervisor, dir } = Bench::new();
        // Until the test ends: its logs are written there.
        std::mem::forget(dir);
        Arc::new(supervisor) as Arc<dyn Orchestrator>
    })
    .await;
}
