//! What is told together: who has been told, how far it was escalated, and when it is told
//! again.

use super::desk::Desk;
use super::policy::{Policy, Step};
use evenkeel_domain::alert::{Alert, Kind, Millis, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A group while something of it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Names this time that something is wrong in it: the first alert's number.
    pub episode: String,
    /// The route it came by.
    pub route: String,
    /// How far it was escalated, from 0.
    pub step: usize,
    /// Since when.
    pub step_since: Millis,
    /// When people were told last; `None`: not yet.
    pub told: Option<Millis>,
}

impl Desk {
    /// Tells, repeats and escalates what is due.
    pub(super) fn groups(&mut self, now: Millis, policy: &Policy) {
        let names: BTreeSet<String> = self.open().map(|alert| alert.group.clone()).collect();
        for name in &names {
            self.group(name, now, policy);
        }
        let gone: Vec<String> =
            self.groups.keys().filter(|n| !names.contains(*n)).cloned().collect();
        for name in gone {
            self.groups.remove(&name);
            self.touch(Table::Group, &name);
        }
    }

    fn group(&mut self, name: &str, now: Millis, policy: &Policy) {
        let waiting: Vec<Alert> = self.open().filter(|a| a.group == name).cloned().collect();
        let heard: Vec<Alert> = waiting.into_iter().filter(|a| a.silenced.is_none()).collect();
        let Some(first) = heard.first() else { return };
        let known = self.groups.get(name).cloned();
        let mut group = known.clone().unwrap_or_else(|| Group {
            episode: first.id.clone(),
            route: policy.route(&first.finding.all_labels(), now).to_owned(),
            step: 0,
            step_since: now,
            told: None,
        });
        self.advance(name, &mut group, &heard, now, policy);
        if known.as_ref() != Some(&group) {
            self.groups.insert(name.to_owned(), group);
            self.touch(Table::Group, name);
        }
    }

    fn advance(
        &mut self,
        name: &str,
        group: &mut Group,
        heard: &[Alert],
        now: Millis,
        policy: &Policy,
    ) {
        let steps = policy.steps(&group.route);
        let unheard = |alert: &&Alert| alert.acknowledged.is_none();
        let new: Vec<&Alert> = heard.iter().filter(|a| a.told.is_empty() && unheard(a)).collect();
        let oldest = new.iter().map(|alert| alert.fired).min();
        if let Some(oldest) = oldest
            && now.saturating_sub(oldest) >= policy.group_wait
        {
            // What was acknowledged was something else: this begins with the first person.
            let others_are_seen_to = heard.iter().all(|a| a.told.is_empty() || !unheard(&a));
            if others_are_seen_to {
                (group.step, group.step_since) = (0, now);
            }
            group.told = Some(now);
            let to = reached(&steps, group.step);
            let alerts: Vec<Alert> = new.into_iter().cloned().collect();
            self.tell(name, group, Kind::Fires, &alerts, &to, now);
            return;
        }
        let open: Vec<Alert> =
            heard.iter().filter(|a| !a.told.is_empty() && unheard(a)).cloned().collect();
        let (Some(told), false) = (group.told, open.is_empty()) else { return };
        let step = steps.get(group.step);
        let waited = step.is_some_and(|step| now.saturating_sub(group.step_since) >= step.wait);
        let fails = step.is_some_and(|step| self.nobody_hears(step, name));
        if (waited || fails) && group.step + 1 < steps.len() {
            (group.step, group.step_since) = (group.step + 1, now);
            group.told = Some(now);
            let to = steps[group.step].to.clone();
            let why = if fails { "no channel before takes it" } else { "nobody acknowledged" };
            for alert in &open {
                let text = format!("{}: {why}; now {}", alert.finding.what, to.join(", "));
                self.note(now, alert, "escalated", text);
            }
            self.tell(name, group, Kind::Escalates, &open, &to, now);
        } else if now.saturating_sub(told) >= policy.repeat {
            group.told = Some(now);
            let to = reached(&steps, group.step);
            self.tell(name, group, Kind::Repeats, &open, &to, now);
        }
    }

    /// Whether each channel of a step has refused this group for good.
    fn nobody_hears(&self, step: &Step, group: &str) -> bool {
        let refused =
            |channel: &String| self.refused.contains(&(channel.clone(), group.to_owned()));
        !step.to.is_empty() && step.to.iter().all(refused)
    }
}

/// Channels of all steps up to this one, each once.
fn reached(steps: &[Step], step: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for channel in steps.iter().take(step + 1).flat_map(|step| &step.to) {
        if !all.contains(channel) {
            all.push(channel.clone());
        }
    }
    all
}
