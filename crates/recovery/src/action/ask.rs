//! Asks a person. The plan does so by waiting; there is nothing to do.

use super::{Action, Blast, Task};
use evenkeel_domain::incident::{Hands, Reach, Seen};

/// See the module.
pub(super) struct Ask;

impl Action for Ask {
    fn name(&self) -> &'static str {
        "ask"
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
        Box::pin(std::future::ready(Ok("asked".into())))
    }
}
