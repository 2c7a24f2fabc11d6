//! A check will reach a limit soon: a disk that fills, a leak, a certificate that runs out.

use super::check::{named, service};
use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Severity};

pub(super) struct Ahead;

impl Source for Ahead {
    fn name(&self) -> &'static str {
        "forecast"
    }

    fn about(&self) -> &'static str {
        "a check will reach a limit soon (disk, memory, certificate)"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let near = world.checks.iter().filter_map(|check| Some((check, check.ahead.as_ref()?)));
        near.map(|(check, ahead)| {
            let of = service(world, check);
            let what = format!("check {} will reach a limit of {}", named(check), ahead.measure);
            let about = format!("{}:{}:{}", check.check, check.subject, ahead.measure);
            let mut one = finding(self, &about, of, what, ahead.text.clone());
            one.labels.insert("check".into(), check.check.clone());
            one.labels.insert("kind".into(), check.kind.clone());
            one.labels.insert("subject".into(), check.subject.clone());
            let affected = if of.is_empty() {
                "nobody yet".into()
            } else {
                format!("nobody yet; {}", world.affected(of))
            };
            Finding { affected, done: world.done(of), ..one }
        })
        .collect()
    }
}
