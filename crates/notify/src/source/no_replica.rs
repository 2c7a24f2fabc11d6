//! A service has no replica that takes traffic.

use super::{Source, Stands, World, finding};
use evenkeel_domain::alert::{Finding, Millis, Severity};

/// A restart of a small model, and a pause of a collector, are shorter.
const LASTING: Millis = 3_000;
/// Large models load for that long before they are up for the first time.
const LOADING: Millis = 600_000;
/// Replicas that are named.
const NAMED: usize = 5;

pub(super) struct NoReplica;

impl Source for NoReplica {
    fn name(&self) -> &'static str {
        "no_replica"
    }

    fn about(&self) -> &'static str {
        "no replica of a service takes traffic, and no person wanted it so"
    }

    fn severity(&self) -> Severity {
        Severity::Page
    }

    fn lasting(&self) -> Millis {
        LASTING
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let down = world.services.iter().filter(|service| service.stands == Stands::Down);
        down.map(|service| {
            let what = format!("{}: no replica takes traffic", service.name);
            let named: Vec<String> =
                service.out.iter().take(NAMED).map(|(n, w)| format!("{n} {w}")).collect();
            let why = if named.is_empty() { "it has no replica".into() } else { named.join("; ") };
            let starting =
                !service.was_up && service.out.iter().all(|(_, why)| why.starts_with("starting"));
            let first = service.out.first().map(|(name, _)| name.clone());
            let next = match first.filter(|_| service.out.len() == 1) {
                Some(name) => format!("evenkeel why {name}"),
                None => "evenkeel incident list".into(),
            };
            Finding {
                affected: world.affected(&service.name),
                done: world.done(&service.name),
                next,
                lasting: if starting { LOADING } else { LASTING },
                ..finding(self, &service.name, &service.name, what, why)
            }
        })
        .collect()
    }
}
