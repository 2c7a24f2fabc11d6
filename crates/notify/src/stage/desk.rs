//! The desk: all that is known of alerts, moved by findings, people and time. It does no I/O
//! and has no clock.
//!
//! ```text
//!  findings ─► for how long ─► alerts ─► silences ─► groups ─► outbox ─► channels
//!                                ▲ acknowledge       wait, repeat,   ▲ │ back-off
//!                                └ people            escalate        └─┘ not delivered
//! ```

use super::group::Group;
use super::policy::Policy;
use evenkeel_domain::alert::{
    Alert, Doc, Finding, Kind, Message, Millis, Past, Silence, Table, matches,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How long something must be gone before its alert is over: a look that missed it is no end.
pub const SETTLES: Millis = 3_000;
/// How long after a process began nothing is taken for over: it does not know all yet.
pub const BLIND: Millis = 15_000;
/// Alerts at once: each is kept, shown and told. A failing cluster is fewer groups than that.
pub const ALERTS: usize = 1_000;
/// Alerts that one message tells in full.
pub const TOLD: usize = 20;
/// Silences at once.
pub const SILENCES: usize = 200;

/// Something that happened and that others are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// For the record.
    pub past: Past,
    /// The alert that it is about, as it was then.
    pub about: Option<Alert>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Desk {
    epoch: u64,
    number: u64,
    began: Millis,
    /// What has not been so for long enough: since when.
    coming: BTreeMap<String, Millis>,
    /// By number. Those that are over go once that is told.
    pub(super) alerts: BTreeMap<String, Alert>,
    /// When each open alert was last found.
    seen: BTreeMap<String, Millis>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) silences: BTreeMap<String, Silence>,
    pub(super) outbox: BTreeMap<u64, Message>,
    /// Channels that refused a group for good.
    pub(super) refused: HashSet<(String, String)>,
    /// When it was last said that alerting lives.
    pub(super) alive: Option<Millis>,
    dirty: BTreeSet<(Table, String)>,
    pub(super) happened: Vec<Happened>,
    /// Findings for which there was no room.
    pub overflow: u64,
}

impl Desk {
    /// A desk that goes on with what was kept. `epoch` was never given before.
    #[must_use]
    pub fn new(epoch: u64, now: Millis, docs: &[Doc]) -> Self {
        let mut desk = Self { epoch, began: now, ..Self::default() };
        for doc in docs {
            desk.load(doc, now);
        }
        desk
    }

    /// What cannot be read was written by another version: it is left where it is.
    fn load(&mut self, doc: &Doc, now: Millis) {
        let Some(body) = &doc.body else { return };
        match doc.table {
            Table::Alert => {
                if let Ok(alert) = serde_json::from_str::<Alert>(body) {
                    self.seen.insert(alert.id.clone(), now);
                    self.alerts.insert(alert.id.clone(), alert);
                }
            }
            Table::Group => {
                if let Ok(group) = serde_json::from_str(body) {
                    self.groups.insert(doc.key.clone(), group);
                }
            }
            Table::Silence => {
                if let Ok(silence) = serde_json::from_str(body) {
                    self.silences.insert(doc.key.clone(), silence);
                }
            }
            Table::Message => {
                if let Ok(message) = serde_json::from_str::<Message>(body) {
                    self.number = self.number.max(message.seq);
                    // Whoever was away is tried at once.
                    self.outbox.insert(message.seq, Message { due: now, ..message });
                }
            }
        }
    }

    /// Takes over what was kept elsewhere while this was not: messages that wait, and silences.
    /// All that is known here is to be kept, too.
    pub fn adopt(&mut self, now: Millis, docs: &[Doc]) {
        for doc in docs {
            let known = match doc.table {
                Table::Message => doc.key.parse().is_ok_and(|seq| self.outbox.contains_key(&seq)),
                Table::Silence => self.silences.contains_key(&doc.key),
                // Found anew, where they are still so.
                Table::Alert | Table::Group => {
                    self.touch(doc.table, &doc.key);
                    continue;
                }
            };
            if !known {
                self.load(doc, now);
            }
        }
        let all = self.alerts.keys().map(|key| (Table::Alert, key.clone()));
        let all = all.chain(self.groups.keys().map(|key| (Table::Group, key.clone())));
        let all = all.chain(self.silences.keys().map(|key| (Table::Silence, key.clone())));
        let all = all.chain(self.outbox.keys().map(|key| (Table::Message, key.to_string())));
        self.dirty.extend(all.collect::<Vec<_>>());
    }

    /// A name that was never given before, after a letter that says of what: incidents have
    /// numbers, too.
    pub(super) fn name(&mut self, letter: char) -> (u64, String) {
        self.number += 1;
        (self.number, format!("{letter}{}-{}", self.epoch, self.number))
    }

    /// Takes what is so now, and brings everything forward to `now`.
    pub fn step(&mut self, now: Millis, findings: Vec<Finding>, policy: &Policy) {
        self.absorb(now, findings, policy);
        self.resolve(now);
        self.hush(now, policy);
        self.groups(now, policy);
        self.say_alive(now, policy);
        self.forget();
    }

    fn absorb(&mut self, now: Millis, findings: Vec<Finding>, policy: &Policy) {
        let found: BTreeSet<&String> = findings.iter().map(|finding| &finding.key).collect();
        self.coming.retain(|key, _| found.contains(key));
        for finding in findings {
            let open = self.open().find(|a| a.finding.key == finding.key).map(|a| a.id.clone());
            if let Some(id) = open {
                self.seen.insert(id.clone(), now);
                self.renew(&id, finding);
                continue;
            }
            if self.alerts.len() >= ALERTS {
                self.overflow += 1;
                continue;
            }
            let first = *self.coming.entry(finding.key.clone()).or_insert(now);
            let since = finding.since.map_or(first, |since| since.min(first));
            if now.saturating_sub(first) >= finding.lasting {
                self.coming.remove(&finding.key);
                self.fire(now, since, finding, policy);
            }
        }
    }

    /// What is known of it now; only a change of urgency or of its subject is worth a write.
    fn renew(&mut self, id: &str, finding: Finding) {
        let Some(alert) = self.alerts.get_mut(id) else { return };
        let same = alert.finding.what == finding.what && alert.finding.done == finding.done;
        let worse = finding.severity > alert.finding.severity;
        let calm = alert.finding.severity;
        alert.finding = finding;
        if worse {
            // It is another matter now: whoever was told of a ticket was not called.
            (alert.told, alert.acknowledged) = (BTreeSet::new(), None);
        } else {
            alert.finding.severity = calm;
        }
        if worse || !same {
            self.touch(Table::Alert, id);
        }
    }

    fn fire(&mut self, now: Millis, since: Millis, finding: Finding, policy: &Policy) {
        let (_, id) = self.name('a');
        let group = policy.group(&finding.all_labels(), now);
        let text = format!("{}: {}", finding.what, finding.why);
        let alert = Alert {
            id: id.clone(),
            finding,
            since,
            fired: now,
            resolved: None,
            acknowledged: None,
            silenced: None,
            group,
            told: BTreeSet::new(),
        };
        self.note(now, &alert, "fires", text);
        self.seen.insert(id.clone(), now);
        self.alerts.insert(id.clone(), alert);
        self.touch(Table::Alert, &id);
    }

    fn resolve(&mut self, now: Millis) {
        if now.saturating_sub(self.began) < BLIND {
            return;
        }
        let gone = |alert: &&Alert| {
            now.saturating_sub(self.seen.get(&alert.id).copied().unwrap_or(now)) >= SETTLES
        };
        let over: Vec<String> = self.open().filter(gone).map(|alert| alert.id.clone()).collect();
        let mut told: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
        for id in over {
            let seen = self.seen.get(&id).copied().unwrap_or(now);
            let Some(alert) = self.alerts.get_mut(&id) else { continue };
            alert.resolved = Some(seen.max(alert.since));
            let alert = alert.clone();
            self.note(now, &alert, "resolved", alert.finding.what.clone());
            self.touch(Table::Alert, &id);
            told.entry(alert.group.clone()).or_default().push(alert);
        }
        for (name, alerts) in told {
            let Some(group) = self.groups.get(&name).cloned() else { continue };
            // Only who was told that it began is told that it is over.
            let to: BTreeSet<String> = alerts.iter().flat_map(|a| a.told.clone()).collect();
            let heard = |channel: &String| !self.refused.contains(&(channel.clone(), name.clone()));
            let to: Vec<String> = to.into_iter().filter(heard).collect();
            for channel in to {
                let own: Vec<Alert> =
                    alerts.iter().filter(|a| a.told.contains(&channel)).cloned().collect();
                self.post(&name, &group.episode, Kind::Resolved, &own, &channel, now);
            }
        }
    }

    /// Marks what nobody is told of, and why.
    fn hush(&mut self, now: Millis, policy: &Policy) {
        let old: Vec<String> =
            self.silences.values().filter(|s| s.until <= now).map(|s| s.id.clone()).collect();
        for id in old {
            self.silences.remove(&id);
            self.touch(Table::Silence, &id);
        }
        let open: Vec<Alert> = self.open().cloned().collect();
        for alert in open {
            let labels = alert.finding.all_labels();
            let by_hand = self.silences.values().find(|s| matches(&s.matching, &labels));
            let why = by_hand.map(|s| format!("by {}: {} (silence {})", s.owner, s.why, s.id));
            let why =
                why.or_else(|| policy.quiet(&labels, now).map(|q| format!("window: {}", q.why)));
            if why == alert.silenced {
                continue;
            }
            match &why {
                Some(why) => self.note(now, &alert, "silenced", why.clone()),
                None => self.note(now, &alert, "heard", "the silence is over".into()),
            }
            if let Some(known) = self.alerts.get_mut(&alert.id) {
                known.silenced = why;
            }
            self.touch(Table::Alert, &alert.id);
        }
    }

    /// Alerts that are over go once their last message has gone.
    fn forget(&mut self) {
        let waiting: HashSet<&String> =
            self.outbox.values().flat_map(|m| m.alerts.iter().map(|alert| &alert.id)).collect();
        let over = |alert: &&Alert| alert.resolved.is_some() && !waiting.contains(&alert.id);
        let gone: Vec<String> = self.alerts.values().filter(over).map(|a| a.id.clone()).collect();
        for id in gone {
            self.alerts.remove(&id);
            self.seen.remove(&id);
            self.touch(Table::Alert, &id);
        }
        let open: HashSet<&String> = self.groups.keys().collect();
        let kept = |(_, group): &(String, String)| open.contains(group);
        self.refused = std::mem::take(&mut self.refused).into_iter().filter(kept).collect();
    }

    /// What is wrong now.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|alert| alert.resolved.is_none())
    }

    /// Silences that hold.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    /// How far a group was escalated, from 0.
    #[must_use]
    pub fn escalated(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    pub(super) fn touch(&mut self, table: Table, key: &str) {
        self.dirty.insert((table, key.to_owned()));
    }

    pub(super) fn note(&mut self, at: Millis, alert: &Alert, kind: &str, text: String) {
        let past = Past { at, alert: alert.id.clone(), kind: kind.to_owned(), text };
        self.happened.push(Happened { past, about: Some(alert.clone()) });
    }

    /// What has changed since this was asked last, to be kept.
    pub fn changes(&mut self) -> Vec<Doc> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|(table, key)| self.doc(table, key)).collect()
    }

    fn doc(&self, table: Table, key: String) -> Doc {
        fn json<T: serde::Serialize>(value: Option<&T>) -> Option<String> {
            value.and_then(|value| serde_json::to_string(value).ok())
        }
        let body = match table {
            Table::Alert => json(self.alerts.get(&key)),
            Table::Group => json(self.groups.get(&key)),
            Table::Silence => json(self.silences.get(&key)),
            Table::Message => json(key.parse().ok().and_then(|seq: u64| self.outbox.get(&seq))),
        };
        Doc { table, key, body }
    }

    /// What has happened since this was asked last.
    pub fn happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }
}
