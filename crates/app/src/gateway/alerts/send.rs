//! Sending: one message at a time for each channel, each behind its breaker.

use super::Setup;
use evenkeel_admin::view::{ChannelView, TriedView};
use evenkeel_domain::alert::{Kind, Message};
use evenkeel_domain::clock;
use evenkeel_notify::breaker::{Breaker, State};
use evenkeel_notify::channel::Channel;
use evenkeel_notify::stage::{Answer, Desk};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What is known of one channel.
#[derive(Default)]
struct Known {
    breaker: Breaker,
    delivered: u64,
    failed: u64,
    error: Option<String>,
}

/// What came of one message.
pub(super) struct Sent {
    pub(super) seq: u64,
    channel: String,
    pub(super) answer: Answer,
}

/// All channels.
#[derive(Default)]
pub(super) struct Senders {
    known: BTreeMap<String, Known>,
    busy: BTreeSet<String>,
    under_way: JoinSet<Sent>,
}

impl Senders {
    /// Sends what is due.
    pub(super) fn send(&mut self, desk: &Desk, setup: &Setup) {
        let now = clock::unix_millis();
        for message in desk.due(now, &self.busy) {
            let Some(way) = setup.channels.get(&message.channel) else { continue };
            let known = self.known.entry(message.channel.clone()).or_default();
            if !known.breaker.admits(now) {
                continue;
            }
            self.busy.insert(message.channel.clone());
            let channel = way.channel.clone();
            self.under_way.spawn(async move {
                let answer = match channel {
                    Ok(channel) => channel.send(&message).await,
                    Err(why) => Answer::Retryable { why, after: None },
                };
                Sent { seq: message.seq, channel: message.channel, answer }
            });
        }
    }

    /// Waits for the next answer; for ever while nothing is under way. Whoever stops waiting
    /// loses nothing.
    pub(super) async fn next(&mut self) -> Sent {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(sent)) => return self.took(sent),
                // One that panicked has said nothing; its channel would be busy for ever.
                Some(Err(error)) => {
                    tracing::error!(%error, "a channel failed");
                    self.busy.clear();
                }
                None => std::future::pending().await,
            }
        }
    }

    fn took(&mut self, sent: Sent) -> Sent {
        self.busy.remove(&sent.channel);
        let known = self.known.entry(sent.channel.clone()).or_default();
        let now = clock::unix_millis();
        match &sent.answer {
            Answer::Delivered(_) => {
                known.delivered += 1;
                known.error = None;
                known.breaker.ended(true, now);
            }
            Answer::Retryable { why, .. } | Answer::Permanent(why) => {
                known.failed += 1;
                known.error = Some(why.clone());
                known.breaker.ended(false, now);
                tracing::warn!(channel = sent.channel, why, "an alert was not delivered");
            }
        }
        sent
    }

    /// Channels whose last message was not taken, and why.
    pub(super) fn mute(&self) -> Vec<(String, String)> {
        let mute = |(name, known): (&String, &Known)| Some((name.clone(), known.error.clone()?));
        self.known.iter().filter_map(mute).collect()
    }

    /// Forgets channels that are not configured any more.
    pub(super) fn retain(&mut self, setup: &Setup) {
        self.known.retain(|name, _| setup.channels.contains_key(name));
    }

    /// For the admin API.
    pub(super) fn views(&self, setup: &Setup, desk: &Desk) -> Vec<ChannelView> {
        let view = |(name, way): (&String, &super::Way)| {
            let known = self.known.get(name);
            let state = known.map_or(State::Admitting, |known| known.breaker.state());
            let (place, wrong) = match &way.channel {
                Ok(channel) => (channel.place(), None),
                Err(why) => (String::new(), Some(why.clone())),
            };
            ChannelView {
                name: name.clone(),
                kind: way.kind.clone(),
                place,
                state: match state {
                    State::Admitting => "admitting".into(),
                    State::Rejecting(_) => "rejecting".into(),
                    State::Trial => "trial".into(),
                },
                waiting: desk.waiting_for(name),
                delivered: known.map_or(0, |known| known.delivered),
                failed: known.map_or(0, |known| known.failed),
                error: wrong.or_else(|| known.and_then(|known| known.error.clone())),
            }
        };
        setup.channels.iter().map(view).collect()
    }
}

/// Sends a message that says that it is a test, once.
pub(crate) async fn try_one(name: &str, channel: &Result<Arc<dyn Channel>, String>) -> TriedView {
    let now = clock::unix_millis();
    let message = Message {
        id: format!("test-{now}"),
        seq: 0,
        channel: name.to_owned(),
        group: "test".into(),
        episode: format!("test-{now}"),
        kind: Kind::Test,
        alerts: Vec::new(),
        more: 0,
        open: false,
        at: now,
        tries: 0,
        due: now,
        error: None,
    };
    let (delivered, said) = match channel {
        Ok(channel) => match channel.send(&message).await {
            Answer::Delivered(said) => (true, format!("{}: {said}", channel.place())),
            Answer::Retryable { why, .. } | Answer::Permanent(why) => (false, why),
        },
        Err(why) => (false, why.clone()),
    };
    TriedView { channel: name.to_owned(), delivered, said }
}
