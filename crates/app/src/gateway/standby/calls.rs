//! Requests that make a warm standby's server load and free its model.

use super::super::recovery::post;
use evenkeel_domain::Replica;
use evenkeel_domain::standby::Call;
use evenkeel_health::AuthorityHandle;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long until a server that could not be reached is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Refusals of a server before it is given up: it does not know the path, or cannot.
const REFUSALS: u32 = 3;

/// What a task was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Load,
    /// Free the model, and see that the server is there.
    Settle,
}

/// What came of a task.
pub(super) struct Done {
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) kind: Kind,
    pub(super) result: Result<(), String>,
}

/// Has a server load its model, within `limit`. Once this returns well, only what is measured
/// from then on says whether it is ready.
pub(super) async fn load(
    replica: Arc<Replica>,
    authority: AuthorityHandle,
    limit: Duration,
) -> Result<(), String> {
    let Some(call) = replica.id.standby.as_ref().and_then(|standby| standby.load.as_ref()) else {
        return Err("no `load` request is configured for it".into());
    };
    match timeout(limit, ask(&replica, call)).await {
        Ok(asked) => asked?,
        Err(_) => return Err(format!("POST {} did not end within {limit:?}", call.path)),
    }
    authority.renewed(replica.id.key).await;
    Ok(())
}

/// Has a server free its model, however long it takes until it can be reached.
pub(super) async fn settle(replica: Arc<Replica>) -> Result<(), String> {
    match replica.id.standby.as_ref().and_then(|standby| standby.unload.as_ref()) {
        Some(call) => ask(&replica, call).await,
        None => {
            while replica.id.dial.dial().await.is_err() {
                sleep(AGAIN).await;
            }
            Ok(())
        }
    }
}

async fn ask(replica: &Replica, call: &Call) -> Result<(), String> {
    let key = format!("standby-{}-{}", replica.id.name, replica.live.incarnation());
    let mut refusals = 0;
    loop {
        match post(replica, &call.path, &call.body, &key).await {
            Ok(200..=299) => return Ok(()),
            Ok(status) => {
                refusals += 1;
                if refusals == REFUSALS {
                    return Err(format!("POST {} was answered {status}", call.path));
                }
            }
            // It may be starting.
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}
