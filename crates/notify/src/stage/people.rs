//! What people say: that they look after something, and that nobody is to be told.

use super::desk::{Desk, Happened, SILENCES};
use evenkeel_domain::alert::{Acknowledged, Alert, Kind, Millis, Past, Silence, Table};
use std::collections::BTreeMap;

impl Desk {
    /// Somebody looks after an alert; `all` for every one that is open.
    ///
    /// # Errors
    /// When there is no such alert that is open.
    pub fn acknowledge(
        &mut self,
        id: &str,
        owner: &str,
        now: Millis,
    ) -> Result<Vec<String>, String> {
        let asked = |a: &&Alert| id == "all" || a.id == id;
        let found: Vec<Alert> = self.open().filter(asked).cloned().collect();
        if found.is_empty() {
            return Err(format!("no alert `{id}` is open"));
        }
        let mut by_place: BTreeMap<(String, String), Vec<Alert>> = BTreeMap::new();
        for alert in found.iter().filter(|a| a.acknowledged.is_none()) {
            let mut alert = alert.clone();
            alert.acknowledged = Some(Acknowledged { owner: owner.to_owned(), at: now });
            self.note(now, &alert, "acknowledged", format!("by {owner}"));
            for channel in &alert.told {
                by_place
                    .entry((alert.group.clone(), channel.clone()))
                    .or_default()
                    .push(alert.clone());
            }
            self.touch(Table::Alert, &alert.id);
            self.alerts.insert(alert.id.clone(), alert);
        }
        for ((group, channel), alerts) in by_place {
            if let Some(known) = self.groups.get(&group).cloned() {
                self.post(&group, &known.episode, Kind::Acknowledged, &alerts, &channel, now);
            }
        }
        Ok(found.into_iter().map(|alert| alert.id).collect())
    }

    /// Has nobody told of what matches. Gives its number.
    ///
    /// # Errors
    /// When it would never hold, or there are too many.
    pub fn silence(&mut self, silence: Silence, now: Millis) -> Result<String, String> {
        if silence.until <= now {
            return Err("it would be over at once; give a longer time".into());
        }
        if self.silences.len() >= SILENCES {
            return Err(format!("there are {SILENCES} silences already; end one of them"));
        }
        let (_, id) = self.name('s');
        let text = format!("{:?} by {}: {}", silence.matching, silence.owner, silence.why);
        self.happened.push(Happened {
            past: Past { at: now, alert: String::new(), kind: "silence".into(), text },
            about: None,
        });
        self.silences.insert(id.clone(), Silence { id: id.clone(), ..silence });
        self.touch(Table::Silence, &id);
        Ok(id)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn unsilence(&mut self, id: &str, owner: &str, now: Millis) -> Result<(), String> {
        self.silences.remove(id).ok_or_else(|| format!("there is no silence `{id}`"))?;
        self.touch(Table::Silence, id);
        let past = Past {
            at: now,
            alert: String::new(),
            kind: "unsilence".into(),
            text: format!("{id} by {owner}"),
        };
        self.happened.push(Happened { past, about: None });
        Ok(())
    }
}
