//! An incident that goes no further without a person: no step is left, or one must be approved.

use super::{Source, World, finding, steps};
use evenkeel_domain::alert::{Finding, Severity};
use evenkeel_domain::incident::{Action, Phase};

pub(super) struct NeedsPerson;

impl Source for NeedsPerson {
    fn name(&self) -> &'static str {
        "incident"
    }

    fn about(&self) -> &'static str {
        "an incident has no step left, or waits for an approval"
    }

    fn severity(&self) -> Severity {
        Severity::Page
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let stuck = world.incidents.iter().filter(|(one, _)| one.phase == Phase::Escalated);
        stuck
            .map(|(one, held)| {
                let asks = one
                    .doing
                    .iter()
                    .map(|doing| &doing.step.action)
                    .chain(one.step().map(|s| &s.action));
                let asks = asks.into_iter().any(|action| matches!(action, Action::Ask { .. }));
                let what = match asks {
                    true => format!("{}: incident {} waits for an approval", one.target, one.id),
                    false => format!("{}: incident {} needs a person", one.target, one.id),
                };
                let next = match one.next.is_empty() {
                    true => format!("evenkeel incident show {}", one.id),
                    false => one.next.clone(),
                };
                let mut finding = finding(self, &one.id, &one.service, what, one.why.clone());
                finding.labels.insert("replica".into(), one.target.clone());
                finding.labels.insert("incident".into(), one.id.clone());
                Finding {
                    affected: affected(world, &one.service),
                    done: vec![steps(one, held)],
                    since: Some(one.times.onset),
                    next,
                    ..finding
                }
            })
            .collect()
    }
}

/// A check on a host has no service.
fn affected(world: &World, service: &str) -> String {
    match world.affected(service) {
        text if text.is_empty() => "nobody that is known".into(),
        text => text,
    }
}
