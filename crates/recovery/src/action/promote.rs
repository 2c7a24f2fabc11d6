//! Has a standby take over. It only adds capacity: nothing is taken away from anybody, so no
//! limit holds it up, and a storm does not either.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct Promote;

impl Action for Promote {
    fn name(&self) -> &'static str {
        "promote"
    }

    fn blast(&self) -> Blast {
        Blast::Nothing
    }

    fn undo(&self) -> Option<&'static str> {
        Some("the standby goes back once the active ones have served for a while")
    }

    fn is_done(&self, _: &Task, seen: &Seen) -> bool {
        seen.replaced_by.is_some()
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::Promote = task.step.action else { return not_mine(self.name()) };
            hands.promote(&task.incident.target).await
        })
    }
}
