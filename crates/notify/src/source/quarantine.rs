//! A query of death: a request that has killed replicas and is refused now.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Severity};

pub(super) struct Quarantine;

impl Source for Quarantine {
    fn name(&self) -> &'static str {
        "quarantine"
    }

    fn about(&self) -> &'static str {
        "a request has killed too many replicas and is refused"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let hit = world.services.iter().filter(|service| service.quarantined > 0);
        hit.map(|service| {
            let what = format!("{}: a request that kills replicas is refused", service.name);
            let why = format!("{} in the last ten minutes", service.quarantined);
            Finding {
                affected: format!("whoever sends it; {}", world.affected(&service.name)),
                done: vec![
                    "its hash is quarantined: it is refused before any replica sees it".into(),
                ],
                next: "look for `quarantined` in the log of Evenkeel; mend the model server".into(),
                ..finding(self, &service.name, &service.name, what, why)
            }
        })
        .collect()
    }
}
