//! A channel takes nothing: others are told.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Millis, Severity};

/// A deployment of what is there takes less.
const LASTING: Millis = 120_000;

pub(super) struct Mute;

impl Source for Mute {
    fn name(&self) -> &'static str {
        "channel"
    }

    fn about(&self) -> &'static str {
        "a channel has taken no message for two minutes"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn lasting(&self) -> Millis {
        LASTING
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let mute = world.channels.iter().map(|(name, why)| {
            let what = format!("alert channel {name} takes nothing");
            let mut one = finding(self, name, "", what, why.clone());
            one.labels.insert("channel".into(), name.clone());
            one.affected = "whoever would be told by it".into();
            one.done = vec!["what it does not take goes to the next step of its route".into()];
            one.next = format!("evenkeel alert test {name}");
            one
        });
        mute.collect()
    }
}
