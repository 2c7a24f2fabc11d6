//! Starts more copies of its service. How many is written down with the step, so that doing it
//! again starts no more; how many run is held by the incident, and ends with it.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Hands, Holding, Reach, Seen};

/// See the module.
pub(super) struct Scale;

/// The numbers of the copies that this step has started.
fn started(task: &Task) -> Option<(u32, u32)> {
    let mine = task.incident.holds.iter().find(|hold| hold.key == task.key)?;
    match mine.what {
        Holding::Copies { from, to } => Some((from, to)),
        Holding::FailOver { .. } => None,
    }
}

impl Action for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn blast(&self) -> Blast {
        Blast::Hosts
    }

    fn undo(&self) -> Option<&'static str> {
        Some("once the incident is over, load decides again how many run")
    }

    fn is_done(&self, task: &Task, seen: &Seen) -> bool {
        let serve = |(from, to)| seen.copies.as_ref().is_some_and(|copies| copies.serve(from, to));
        started(task).is_some_and(serve)
    }

    fn act<'a>(&'a self, task: &'a Task, hands: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Some((from, to)) = started(task) else { return not_mine(self.name()) };
            hands.copies(&task.incident.target, from, to).await?;
            Ok(format!("{to} copies: those that were started serve"))
        })
    }
}
