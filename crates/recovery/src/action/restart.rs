//! Stops and starts its process. The order names the start that is meant, so that it has no
//! effect on a newer one, however often it comes.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct Restart;

impl Action for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn blast(&self) -> Blast {
        Blast::Process
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    fn is_done(&self, task: &Task, seen: &Seen) -> bool {
        seen.incarnation != task.incarnation
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::Restart { grace } = task.step.action else { return not_mine(self.name()) };
            hands.restart(&task.incident.target, task.incarnation, grace).await?;
            Ok("ordered".into())
        })
    }
}
