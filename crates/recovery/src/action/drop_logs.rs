//! Drops old logs of our own from a disk that fills. Done twice, there is nothing left to drop.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};

/// See the module.
pub(super) struct DropLogs;

impl Action for DropLogs {
    fn name(&self) -> &'static str {
        "drop_logs"
    }

    fn blast(&self) -> Blast {
        Blast::Logs
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    /// Nothing shows it.
    fn is_done(&self, _: &Task, _: &Seen) -> bool {
        false
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::DropLogs = task.step.action else { return not_mine(self.name()) };
            let path = task.incident.ahead.as_ref().and_then(|ahead| ahead.path.as_deref());
            hands.drop_logs(path.ok_or("no check of a disk sees it fill")?).await
        })
    }
}
