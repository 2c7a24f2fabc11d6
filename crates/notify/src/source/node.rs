//! A node cannot be reached.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Millis, Severity};

/// A switch that restarts, and an agent that is replaced, are back by then.
const LASTING: Millis = 60_000;

pub(super) struct Lost;

impl Source for Lost {
    fn name(&self) -> &'static str {
        "node"
    }

    fn about(&self) -> &'static str {
        "a node has not been reached for a minute"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn lasting(&self) -> Millis {
        LASTING
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let lost = world.nodes.iter().map(|(name, why)| {
            let what = format!("node {name} cannot be reached");
            let mut one = finding(self, name, "", what, why.clone());
            one.labels.insert("node".into(), name.clone());
            one.affected = "replicas that run there; they are watched by their own probes".into();
            one.next = format!("evenkeel status; on {name}: systemctl status evenkeel-agent");
            one
        });
        lost.collect()
    }
}
