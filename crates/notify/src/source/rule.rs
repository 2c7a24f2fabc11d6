//! `[[alert]]`: a threshold of one's own on what any check measures.

use super::check::{named, service};
use super::{Finding, World};
use evenkeel_domain::alert::{Labels, Millis, Severity};
use evenkeel_domain::check::{Amount, CheckSettings, CheckStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Its name: the label `alert`.
    pub name: String,
    /// The check that measures.
    pub check: String,
    /// What it measures, as `evenkeel status --json` names it.
    pub measure: String,
    /// Which of several things it looks at; all without it.
    #[serde(default)]
    pub subject: Option<String>,
    /// It is so above this: `"90%"`, `"5GiB"`, `"20ms"`, `4`.
    #[serde(default)]
    pub above: Option<Amount>,
    /// It is so below this.
    #[serde(default)]
    pub below: Option<Amount>,
    /// `page` or `ticket`.
    pub severity: Severity,
    /// For how long.
    #[serde(default = "lasting", rename = "for", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lasting: Duration,
    /// What a person does next.
    #[serde(default)]
    pub next: Option<String>,
}

/// One spike is none.
fn lasting() -> Duration {
    Duration::from_secs(60)
}

/// All that is wrong with rules: (index, key, what and what helps).
#[must_use]
pub fn problems(
    rules: &[AlertRule],
    checks: &[CheckSettings],
) -> Vec<(usize, &'static str, String)> {
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let mut add = |key, text: String| found.push((at, key, text));
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if rule.name.is_empty() || rule.name.len() > 64 || !rule.name.chars().all(good) {
            add("name", "a name has 1 to 64 letters, digits, dashes, dots or underscores".into());
        }
        let taken = super::REGISTRY.iter().any(|source| source.name() == rule.name)
            || rules.iter().take(at).any(|other| other.name == rule.name);
        if taken {
            add("name", format!("the name `{}` is taken by another alert", rule.name));
        }
        if !checks.iter().any(|check| check.name == rule.check) {
            add("check", format!("there is no check `{}`: this would never fire", rule.check));
        }
        match (&rule.above, &rule.below) {
            (Some(_), Some(_)) | (None, None) => {
                add("above", "give either `above` or `below`, such as \"90%\"".into());
            }
            (Some(amount), None) | (None, Some(amount)) if amount.read().is_none() => {
                add("above", "is no amount; try \"90%\", \"5GiB\", \"20ms\" or 4".into());
            }
            (None, Some(amount)) if amount.read().is_some_and(|(value, _)| value <= 0.0) => {
                add("below", "nothing measured is below zero: this would never fire".into());
            }
            _ => {}
        }
        if rule.lasting > Duration::from_secs(24 * 3600) {
            add("for", "at most a day".into());
        }
    }
    found
}

impl AlertRule {
    pub(super) fn look(&self, world: &World) -> Vec<Finding> {
        let of = |check: &&CheckStatus| {
            check.check == self.check && self.subject.as_ref().is_none_or(|s| *s == check.subject)
        };
        world.checks.iter().filter(of).filter_map(|check| self.one(world, check)).collect()
    }

    fn one(&self, world: &World, check: &CheckStatus) -> Option<Finding> {
        let measured = check.values.iter().find(|value| value.measure == self.measure)?;
        let above = self.above.as_ref().and_then(Amount::read);
        let below = self.below.as_ref().and_then(Amount::read);
        let (word, (limit, unit)) = match (above, below) {
            (Some(limit), _) if measured.value > limit.0 => ("above", limit),
            (_, Some(limit)) if measured.value < limit.0 => ("below", limit),
            _ => return None,
        };
        let shown = measured.unit.show(measured.value);
        let of = service(world, check);
        let mut labels = Labels::new();
        labels.insert("check".into(), check.check.clone());
        labels.insert("subject".into(), check.subject.clone());
        labels.insert("measure".into(), self.measure.clone());
        Some(Finding {
            key: format!("rule:{}:{}", self.name, check.subject),
            alert: self.name.clone(),
            severity: self.severity,
            service: of.to_owned(),
            labels,
            what: format!(
                "{}: {} of check {} is {word} {}",
                self.name,
                self.measure,
                named(check),
                unit.show(limit)
            ),
            why: format!("measured {shown}"),
            affected: if of.is_empty() { String::new() } else { world.affected(of) },
            done: if of.is_empty() { Vec::new() } else { world.done(of) },
            next: self.next.clone().unwrap_or_else(|| "evenkeel status".into()),
            since: None,
            lasting: self.lasting.as_millis() as Millis,
        })
    }
}
