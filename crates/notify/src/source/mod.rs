//! What raises alerts. *Whom* that reaches belongs in `stage`.
//!
//! A new source is one file here and one line in [`REGISTRY`]. A source looks at the world and
//! says what is so now; it keeps nothing, and does not know who was told.

mod burn;
mod channel;
mod check;
mod forecast;
mod incident;
mod no_replica;
mod node;
mod part;
mod quarantine;
mod rule;
mod storm;
#[cfg(test)]
mod tests;

pub use rule::{AlertRule, problems as rule_problems};

use evenkeel_domain::alert::{Finding, Labels, Millis, Severity};
use evenkeel_domain::check::CheckStatus;
use evenkeel_domain::incident::{Incident, Storm};
use evenkeel_domain::slo::BudgetState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A replica takes traffic.
    Up,
    /// None does.
    Down,
    /// None does, and a person wanted it so.
    Planned,
    /// It has just begun.
    Unknown,
}

/// One service as it is seen.
#[derive(Debug, Clone)]
pub struct ServiceSeen {
    /// Its name.
    pub name: String,
    /// `core` or `best_effort`.
    pub tier: &'static str,
    /// How it stands.
    pub stands: Stands,
    /// Whether it has been up while this process has known it.
    pub was_up: bool,
    /// Replicas that take traffic, and those meant to.
    pub open: (usize, usize),
    /// Each replica that does not, with its state and why.
    pub out: Vec<(String, String)>,
    /// Requests of the last minute that were answered badly, of all that counted.
    pub failed: (u64, u64),
    /// Who answers in its place.
    pub stand_in: Option<String>,
    /// Requests refused for good in the last minutes, since they kill replicas.
    pub quarantined: u64,
}

/// A part of Evenkeel's own that does not work.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which: `recovery`, `account`, `alerts`, `reload`.
    pub part: &'static str,
    /// Why.
    pub why: String,
}

/// All that sources look at.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Services.
    pub services: Vec<ServiceSeen>,
    /// Open incidents, with why nothing is done about them right now.
    pub incidents: Vec<(Incident, String)>,
    /// The storm stop, while it holds.
    pub storm: Option<Storm>,
    /// Error budgets.
    pub budgets: Arc<Vec<BudgetState>>,
    /// Checks.
    pub checks: Vec<CheckStatus>,
    /// How urgent a critical check is, by its name, where the configuration says so.
    pub urgent: BTreeMap<String, Severity>,
    /// What does not work of Evenkeel's own.
    pub broken: Vec<Broken>,
    /// Nodes that cannot be reached: name and why.
    pub nodes: Vec<(String, String)>,
    /// Channels that take nothing: name and why.
    pub channels: Vec<(String, String)>,
}

/// Says what is so.
pub trait Source: Send + Sync {
    /// Its name: the label `alert`.
    fn name(&self) -> &'static str;

    /// When it speaks, for people.
    fn about(&self) -> &'static str;

    /// How urgent it is unless the configuration or what is seen says otherwise.
    fn severity(&self) -> Severity;

    /// For how long it must be so, in milliseconds.
    fn lasting(&self) -> Millis {
        0
    }

    /// What is so now.
    fn look(&self, world: &World) -> Vec<Finding>;
}

/// All sources.
pub static REGISTRY: &[&dyn Source] = &[
    &no_replica::NoReplica,
    &incident::NeedsPerson,
    &storm::StormStop,
    &burn::Burn,
    &check::Check,
    &forecast::Ahead,
    &quarantine::Quarantine,
    &node::Lost,
    &part::Part,
    &channel::Mute,
];

/// What the configuration says otherwise of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// `false`: nobody is told.
    pub enabled: Option<bool>,
    /// `page` or `ticket`.
    pub severity: Option<Severity>,
    /// For how long it must be so.
    #[serde(rename = "for", with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub lasting: Option<Duration>,
}

/// All that is so now: by every source, as configured, and by rules.
#[must_use]
pub fn look(
    world: &World,
    settings: &BTreeMap<String, SourceSettings>,
    rules: &[AlertRule],
) -> Vec<Finding> {
    let mut all = Vec::new();
    for source in REGISTRY {
        let wanted = settings.get(source.name()).cloned().unwrap_or_default();
        if wanted.enabled == Some(false) {
            continue;
        }
        all.extend(source.look(world).into_iter().map(|finding| Finding {
            severity: wanted.severity.unwrap_or(finding.severity),
            lasting: wanted.lasting.map_or(finding.lasting, |time| time.as_millis() as Millis),
            ..finding
        }));
    }
    all.extend(rules.iter().flat_map(|rule| rule.look(world)));
    all
}

/// A finding of a source with all that is usual.
fn finding(source: &dyn Source, about: &str, service: &str, what: String, why: String) -> Finding {
    Finding {
        key: format!("{}:{about}", source.name()),
        alert: source.name().to_owned(),
        severity: source.severity(),
        service: service.to_owned(),
        labels: Labels::new(),
        what,
        why,
        affected: String::new(),
        done: Vec::new(),
        next: "evenkeel status".into(),
        since: None,
        lasting: source.lasting(),
    }
}

impl World {
    fn service(&self, name: &str) -> Option<&ServiceSeen> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Who feels what is wrong with a service.
    fn affected(&self, name: &str) -> String {
        let Some(service) = self.service(name) else { return String::new() };
        let share = match service.failed {
            (_, 0) => "no request asked in the last minute".to_owned(),
            (bad, valid) => format!(
                "{bad} of {valid} requests failed in the last minute ({:.0} %)",
                100.0 * bad as f64 / valid as f64
            ),
        };
        let instead = service
            .stand_in
            .as_ref()
            .map_or_else(String::new, |to| format!("; {to} answers in its place"));
        let (open, expected) = service.open;
        format!(
            "service {name} (tier {}): {open} of {expected} replicas take traffic; {share}{instead}",
            service.tier
        )
    }

    /// What recovery has done about a service.
    fn done(&self, service: &str) -> Vec<String> {
        let of = |incident: &&(Incident, String)| incident.0.service == service;
        self.incidents.iter().filter(of).take(DONE).map(|(one, held)| steps(one, held)).collect()
    }
}

/// Incidents that one alert tells of.
const DONE: usize = 5;

/// What was done about one incident, in a line.
fn steps(incident: &Incident, held: &str) -> String {
    let doing = incident.doing.as_ref().map(|doing| {
        let how = match &doing.ended {
            None => "is being done".to_owned(),
            Some(Ok(said)) => format!("done: {said}"),
            Some(Err(said)) => format!("failed: {said}"),
        };
        format!("; {} {how}", doing.step.action.name())
    });
    let held = if held.is_empty() { String::new() } else { format!("; waits: {held}") };
    format!(
        "incident {} of {}: {}, {} steps begun{}{held}",
        incident.id,
        incident.target,
        incident.phase.label(),
        incident.done,
        doing.unwrap_or_default()
    )
}
