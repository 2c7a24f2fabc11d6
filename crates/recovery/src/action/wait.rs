//! Leaves the replica alone; whether it came back is what the verification sees.

use super::{Action, Blast, Task};
use evenkeel_domain::incident::{Hands, Reach, Seen};

/// See the module.
pub(super) struct Wait;

impl Action for Wait {
    fn name(&self) -> &'static str {
        "wait"
    }

    fn blast(&self) -> Blast {
        Blast::Nothing
    }

    fn undo(&self) -> Option<&'static str> {
        Some("nothing is changed")
    }

    fn is_done(&self, _: &Task, _: &Seen) -> bool {
        false
    }

    fn act<'a>(&'a self, _: &'a Task, _: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(std::future::ready(Ok("left alone".into())))
    }
}
