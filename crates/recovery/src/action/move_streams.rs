//! Moves what is under way to its peers: a shut gate has every stream carried on elsewhere.
//! It is over when nothing is under way any more: the next step may touch the replica.

use super::{Action, Blast, Task};
use evenkeel_domain::Gate;
use evenkeel_domain::incident::{Hands, Reach, Seen};

/// See the module.
pub(super) struct MoveStreams;

impl Action for MoveStreams {
    fn name(&self) -> &'static str {
        "move_streams"
    }

    fn blast(&self) -> Blast {
        Blast::Streams
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    fn is_done(&self, _: &Task, seen: &Seen) -> bool {
        seen.gate == Gate::Shut && seen.in_flight == 0
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            hands.isolate(&task.incident.target, &task.key, task.until).await?;
            hands.idle(&task.incident.target).await?;
            Ok("its streams go on elsewhere".into())
        })
    }
}
