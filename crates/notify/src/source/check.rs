//! A check is critical or warns: hosts, GPUs, databases, certificates.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Severity};
use evenkeel_domain::check::{CheckState, CheckStatus};

pub(super) struct Check;

/// What a check and its subject are called together.
pub(super) fn named(check: &CheckStatus) -> String {
    match check.subject.is_empty() {
        true => check.check.clone(),
        false => format!("{} ({})", check.check, check.subject),
    }
}

/// A service among whose replicas are those that a check speaks against.
pub(super) fn service<'a>(world: &'a World, check: &CheckStatus) -> &'a str {
    let of = |service: &&super::ServiceSeen| {
        let prefix = format!("{}-", service.name);
        check.replicas.iter().any(|replica| replica.starts_with(&prefix))
    };
    world.services.iter().find(of).map_or("", |service| &service.name)
}

impl Source for Check {
    fn name(&self) -> &'static str {
        "check"
    }

    fn about(&self) -> &'static str {
        "a check is critical (page where it isolates replicas, else ticket) or warns (ticket)"
    }

    fn severity(&self) -> Severity {
        Severity::Ticket
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let bad = |c: &&CheckStatus| matches!(c.state, CheckState::Critical | CheckState::Warning);
        let bad = world.checks.iter().filter(bad);
        bad.map(|check| {
            let of = service(world, check);
            let critical = check.state == CheckState::Critical;
            let what = format!("check {} is {}", named(check), check.state);
            let about = format!("{}:{}", check.check, check.subject);
            let mut one = finding(self, &about, of, what, check.why.clone());
            one.labels.insert("check".into(), check.check.clone());
            one.labels.insert("kind".into(), check.kind.clone());
            one.labels.insert("subject".into(), check.subject.clone());
            let usual = match critical && !check.replicas.is_empty() {
                true => Severity::Page,
                false => Severity::Ticket,
            };
            let said = world.urgent.get(&check.check).filter(|_| critical);
            let affected = match check.replicas.is_empty() {
                true => String::new(),
                false => format!(
                    "{}; it speaks against {}",
                    world.affected(of),
                    check.replicas.join(", ")
                ),
            };
            Finding {
                severity: said.copied().unwrap_or(usual),
                affected,
                done: if of.is_empty() { Vec::new() } else { world.done(of) },
                since: Some(check.since_unix_ms),
                next: next(check),
                ..one
            }
        })
        .collect()
    }
}

fn next(check: &CheckStatus) -> String {
    match check.kind.as_str() {
        "certificate" => "renew the certificate; Evenkeel reads its file again by itself".into(),
        "disk" => "df -h; free some room or raise the limit".into(),
        "gpu" => "nvidia-smi; evenkeel status".into(),
        _ => "evenkeel status".into(),
    }
}
