//! Messages until they are delivered: order, back-off, and what becomes of what nobody takes.

use super::desk::{Desk, TOLD};
use super::group::Group;
use super::policy::Policy;
use evenkeel_domain::alert::{Alert, Kind, Message, Millis, Table};
use std::collections::{BTreeSet, HashSet};

/// Messages that wait at most. At a page an hour to three channels this is two weeks.
pub const WAITING: usize = 1_000;
/// The first pause after a failure; it doubles with each.
const FIRST: Millis = 1_000;
/// The longest.
const LONGEST: Millis = 60_000;
/// How long a message is tried: after a day the matter is another one.
const GIVEN_UP: Millis = 24 * 3_600_000;
/// The group of the dead-man's switch.
const ALIVE: &str = "alive";

/// What a channel said to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Delivered(String),
    /// Not now.
    Retryable {
        /// Why.
        why: String,
        /// When it wants to be asked again, in milliseconds from now.
        after: Option<Millis>,
    },
    /// Never, as things are: a person must change something.
    Permanent(String),
}

impl Desk {
    /// Queues what a group is told, for all these channels.
    pub(super) fn tell(
        &mut self,
        name: &str,
        group: &Group,
        kind: Kind,
        alerts: &[Alert],
        to: &[String],
        now: Millis,
    ) {
        for channel in to {
            self.post(name, &group.episode, kind, alerts, channel, now);
            for alert in alerts {
                if let Some(known) = self.alerts.get_mut(&alert.id) {
                    known.told.insert(channel.clone());
                }
                self.touch(Table::Alert, &alert.id);
            }
        }
    }

    /// Queues one message.
    pub(super) fn post(
        &mut self,
        group: &str,
        episode: &str,
        kind: Kind,
        alerts: &[Alert],
        channel: &str,
        now: Millis,
    ) {
        let same = |m: &&Message| m.channel == channel && m.group == group && m.episode == episode;
        let tells = |m: &&Message| matches!(m.kind, Kind::Fires | Kind::Repeats | Kind::Escalates);
        if kind == Kind::Repeats && self.outbox.values().filter(same).any(|m| tells(&m)) {
            return;
        }
        if self.outbox.len() >= WAITING && !self.make_room(kind, now) {
            return;
        }
        let (seq, id) = self.name('m');
        let open = self.open().any(|alert| alert.group == group);
        let message = Message {
            id,
            seq,
            channel: channel.to_owned(),
            group: group.to_owned(),
            episode: episode.to_owned(),
            kind,
            alerts: alerts.iter().take(TOLD).cloned().collect(),
            more: alerts.len().saturating_sub(TOLD) as u64,
            open,
            at: now,
            tries: 0,
            due: now,
            error: None,
        };
        self.outbox.insert(seq, message);
        self.touch(Table::Message, &seq.to_string());
    }

    /// Drops the oldest message that is of least use. What says that something fires stays.
    fn make_room(&mut self, kind: Kind, now: Millis) -> bool {
        let spare = |m: &&Message| matches!(m.kind, Kind::Repeats | Kind::Acknowledged);
        let first = self.outbox.values().find(spare).map(|m| m.seq);
        let oldest = || self.outbox.keys().next().copied();
        let drop = first.or_else(|| (kind == Kind::Fires).then(oldest).flatten());
        let Some(lost) = drop.and_then(|seq| self.outbox.remove(&seq)) else { return false };
        self.touch(Table::Message, &lost.seq.to_string());
        if let Some(alert) = lost.alerts.first() {
            let text = format!("{}: {WAITING} messages wait already", lost.channel);
            self.note(now, alert, "lost", text);
        }
        true
    }

    /// Says that alerting lives, where somebody listens for that.
    pub(super) fn say_alive(&mut self, now: Millis, policy: &Policy) {
        let Some((to, every)) = &policy.alive else { return };
        if self.alive.is_some_and(|last| now.saturating_sub(last) < *every) {
            return;
        }
        self.alive = Some(now);
        for channel in to {
            // One that waits says the same.
            let waits = |m: &Message| m.kind == Kind::Alive && m.channel == *channel;
            if !self.outbox.values().any(waits) {
                self.post(ALIVE, ALIVE, Kind::Alive, &[], channel, now);
            }
        }
    }

    /// What is to be sent now: at most one message for each channel that is not `busy`. Within
    /// one group a channel gets them in order; a message that fails holds up no other group.
    #[must_use]
    pub fn due(&self, now: Millis, busy: &BTreeSet<String>) -> Vec<Message> {
        let mut held: HashSet<(&str, &str)> = HashSet::new();
        let mut next: std::collections::BTreeMap<&str, &Message> = Default::default();
        for message in self.outbox.values() {
            let first = held.insert((&message.channel, &message.group));
            if !first || message.due > now || busy.contains(&message.channel) {
                continue;
            }
            let best = next.entry(&message.channel).or_insert(message);
            if message.due < best.due {
                *best = message;
            }
        }
        next.into_values().cloned().collect()
    }

    /// When the next message is due; `None` when nothing waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.outbox.values().map(|message| message.due).min()
    }

    /// Messages that wait for a channel.
    #[must_use]
    pub fn waiting_for(&self, channel: &str) -> u64 {
        self.outbox.values().filter(|message| message.channel == channel).count() as u64
    }

    /// Takes what came of sending one.
    pub fn settle(&mut self, seq: u64, answer: Answer, now: Millis) {
        let Some(mut message) = self.outbox.remove(&seq) else { return };
        self.touch(Table::Message, &seq.to_string());
        message.tries += 1;
        let old = now.saturating_sub(message.at) >= GIVEN_UP;
        match answer {
            Answer::Delivered(said) => {
                self.refused.remove(&(message.channel.clone(), message.group.clone()));
                self.told(&message, "delivered", said, now);
            }
            // It says only that all is well now: tomorrow that is no news.
            Answer::Retryable { .. } if message.kind == Kind::Alive => {}
            Answer::Retryable { why, after } if !old => {
                let doubled = FIRST << message.tries.min(10).saturating_sub(1);
                let pause = after.unwrap_or(0).max(doubled).min(LONGEST);
                message.due = now + pause;
                message.error = Some(why);
                self.outbox.insert(seq, message);
            }
            Answer::Retryable { why, .. } | Answer::Permanent(why) => {
                self.refuse(message, why, now)
            }
        }
    }

    /// Nobody takes it there: the next step is asked, and nothing of its end is told.
    fn refuse(&mut self, message: Message, why: String, now: Millis) {
        self.told(&message, "undelivered", why, now);
        self.refused.insert((message.channel.clone(), message.group.clone()));
        if message.kind != Kind::Fires && message.kind != Kind::Escalates {
            return;
        }
        let same = |m: &Message| m.channel == message.channel && m.group == message.group;
        let moot: Vec<u64> = self
            .outbox
            .values()
            .filter(|m| same(m) && matches!(m.kind, Kind::Resolved | Kind::Acknowledged))
            .map(|m| m.seq)
            .collect();
        for seq in moot {
            self.outbox.remove(&seq);
            self.touch(Table::Message, &seq.to_string());
        }
    }

    fn told(&mut self, message: &Message, kind: &str, said: String, now: Millis) {
        for alert in &message.alerts {
            let text = format!("{} to {}: {said}", message.kind.label(), message.channel);
            self.note(now, alert, kind, text);
        }
    }

    /// Drops what is for channels that are not there any more: nobody would ever send it.
    pub fn retain_channels(&mut self, policy: &Policy, now: Millis) {
        let gone = |m: &&Message| !policy.channels.contains(&m.channel);
        let gone: Vec<Message> = self.outbox.values().filter(gone).cloned().collect();
        for message in gone {
            self.outbox.remove(&message.seq);
            self.touch(Table::Message, &message.seq.to_string());
            self.refuse(message, "the channel is not in the configuration any more".into(), now);
        }
    }
}
