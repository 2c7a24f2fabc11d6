//! Has the model server load its model again, by a request that its operator configured.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct Reload;

impl Action for Reload {
    fn name(&self) -> &'static str {
        "reload"
    }

    fn blast(&self) -> Blast {
        Blast::Process
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    /// Nothing shows it; the server can tell by the `idempotency-key`.
    fn is_done(&self, _: &Task, _: &Seen) -> bool {
        false
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::Reload { path, body } = &task.step.action else {
                return not_mine(self.name());
            };
            let status = hands.request(&task.incident.target, path, body, &task.key).await?;
            match status {
                200..300 => Ok(format!("answered {status}")),
                _ => Err(format!("POST {path} was answered {status}")),
            }
        })
    }
}
