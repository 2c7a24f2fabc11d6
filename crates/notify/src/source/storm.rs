//! Recovery has stopped itself: too much was changed.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Severity};

pub(super) struct StormStop;

impl Source for StormStop {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn about(&self) -> &'static str {
        "recovery has stopped, since too much was changed in a short time"
    }

    fn severity(&self) -> Severity {
        Severity::Page
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let storm = world.storm.iter().map(|storm| Finding {
            affected: "all services: nothing is healed until a person says so".into(),
            done: vec!["recovery was stopped".into()],
            next: "evenkeel incident list, then evenkeel incident reset-storm".into(),
            since: Some(storm.since),
            ..finding(self, "all", "", "recovery has stopped itself".into(), storm.why.clone())
        });
        storm.collect()
    }
}
