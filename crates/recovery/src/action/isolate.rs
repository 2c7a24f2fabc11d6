//! Takes the replica out of traffic. Ends when the incident is verified or by itself.

use super::{Action, Blast, Task};
use evenkeel_domain::Gate;
use evenkeel_domain::incident::{Hands, Reach, Seen};

/// See the module.
pub(super) struct Isolate;

impl Action for Isolate {
    fn name(&self) -> &'static str {
        "isolate"
    }

    fn blast(&self) -> Blast {
        Blast::Streams
    }

    fn undo(&self) -> Option<&'static str> {
        Some("it is released")
    }

    fn is_done(&self, _: &Task, seen: &Seen) -> bool {
        seen.gate == Gate::Shut
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            hands.isolate(&task.incident.target, &task.key, task.until).await?;
            Ok("out of traffic".into())
        })
    }
}
