//! Has another service answer. That it does is held by the incident, and so in force before
//! this is called and in force again after a crash; here is only looked whether it can.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct FailOver;

impl Action for FailOver {
    fn name(&self) -> &'static str {
        "fail_over"
    }

    fn blast(&self) -> Blast {
        Blast::Service
    }

    fn undo(&self) -> Option<&'static str> {
        Some("requests go back once its own replicas serve, or by `evenkeel incident undo`")
    }

    fn is_done(&self, task: &Task, seen: &Seen) -> bool {
        let Does::FailOver { to } = &task.step.action else { return false };
        seen.stand_in.as_ref() == Some(to)
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::FailOver { to } = &task.step.action else { return not_mine(self.name()) };
            hands.can_answer(to).await
        })
    }
}
