//! Drains it and starts its process anew: what is under way ends first, and others serve
//! meanwhile. The order names the start that is meant.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct Renew;

impl Action for Renew {
    fn name(&self) -> &'static str {
        "renew"
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
            let Does::Renew = task.step.action else { return not_mine(self.name()) };
            hands.renew(&task.incident.target, task.incarnation).await?;
            Ok("ordered".into())
        })
    }
}
