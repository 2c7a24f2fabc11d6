//! The keeper's view: which nodes are there.

use super::pulse::{self, Pulse};
use crate::connect::Target;
use crate::identity::Authority;
use crate::identity::tls::{self, TlsError};
use evenkeel_domain::clock;
use evenkeel_domain::node::{self, NodeSettings, Presence, Sight};
use evenkeel_domain::phi::Accrual;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is judged: what is seen late by this is the least part of three seconds.
const LOOK: Duration = Duration::from_millis(50);
/// A look that is later than this was late because this process stood still.
const STOOD_STILL: Duration = Duration::from_millis(250);
/// What changes all the time (φ, round trips) is told this often.
const TELL: Duration = Duration::from_secs(1);

/// What beats say of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Whether it is there.
    pub presence: Presence,
    /// φ, not beyond any pause.
    pub phi: f64,
    /// From the last beat to its acknowledgement.
    pub rtt: Option<Duration>,
    /// Since the last acknowledgement.
    pub ago: Option<Duration>,
    /// Nodes that hear it while the keeper does not.
    pub seen_by: Vec<String>,
    /// Why there is no connection, while there is none.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct Ear {
    accrual: Accrual,
    rtt: Option<Duration>,
    error: Option<String>,
    /// Whom this node hears, and when it did.
    hears: BTreeMap<String, Instant>,
}

type Ears = Arc<Mutex<BTreeMap<String, Ear>>>;

fn lock(ears: &Ears) -> MutexGuard<'_, BTreeMap<String, Ear>> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Beats to nodes and judges them; ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    ears: Ears,
    beats: JoinSet<()>,
    heard: watch::Sender<BTreeMap<String, Heard>>,
}

impl Watch {
    /// Watches nobody.
    #[must_use]
    pub fn new() -> Self {
        let heard = watch::Sender::new(BTreeMap::new());
        Self { ears: Ears::default(), beats: JoinSet::new(), heard }
    }

    /// Watches these from now on. What was heard of those that stay is kept.
    ///
    /// # Errors
    /// When the keeper's certificate cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set(&mut self, authority: &Authority, nodes: &[NodeSettings]) -> Result<(), TlsError> {
        let tls = tls::client(authority.keeper())?;
        self.beats = JoinSet::new();
        let mut ears = lock(&self.ears);
        ears.retain(|name, _| nodes.iter().any(|node| node.name == *name));
        for one in nodes {
            ears.entry(one.name.clone()).or_default();
            let (node, address) = (one.name.clone(), one.address.clone());
            let (name, all) = (node.clone(), self.ears.clone());
            let to = Target { node, address, tls: tls.clone() };
            self.beats.spawn(pulse::beat(to, None, move |pulse| hear(&all, &name, pulse)));
        }
        drop(ears);
        if !nodes.is_empty() {
            self.beats.spawn(judge(self.ears.clone(), self.heard.clone()));
        }
        Ok(())
    }

    /// Watches nobody any more.
    pub fn clear(&mut self) {
        self.beats = JoinSet::new();
        lock(&self.ears).clear();
        self.heard.send_replace(BTreeMap::new());
    }

    /// Follows what is heard, by node: at once when one comes or goes, else once a second.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<String, Heard>> {
        self.heard.subscribe()
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

fn hear(ears: &Ears, name: &str, pulse: Pulse) {
    let now = clock::now();
    let mut all = lock(ears);
    let Some(ear) = all.get_mut(name) else { return };
    match pulse {
        Pulse::Acked(ack, rtt) => {
            ear.accrual.observe(now);
            ear.rtt = Some(rtt);
            ear.error = None;
            // Whole each time: names that are none of ours do not stay.
            ear.hears = ack
                .hears
                .into_iter()
                .filter_map(|(peer, ago)| Some((peer, now.checked_sub(ago)?)))
                .collect();
        }
        Pulse::Broken(why) => ear.error = Some(why),
    }
}

async fn judge(ears: Ears, to: watch::Sender<BTreeMap<String, Heard>>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = clock::now();
    let mut told = last;
    loop {
        ticks.tick().await;
        let now = clock::now();
        let gap = now.saturating_duration_since(last);
        last = now;
        let heard = look(&mut lock(&ears), gap, now);
        let due = now.saturating_duration_since(told) >= TELL;
        if to.send_if_modified(|before| {
            let same = |(name, one): (&String, &Heard)| {
                before.get(name).is_some_and(|known| {
                    (known.presence, &known.seen_by) == (one.presence, &one.seen_by)
                })
            };
            let news = before.len() != heard.len() || !heard.iter().all(same);
            *before = heard;
            news || due
        }) {
            told = now;
        }
    }
}

fn look(ears: &mut BTreeMap<String, Ear>, gap: Duration, now: Instant) -> BTreeMap<String, Heard> {
    if gap > STOOD_STILL {
        // Acknowledgements that came meanwhile wait to be read.
        ears.values_mut().for_each(|ear| ear.accrual.forgive(gap, now));
    }
    ears.iter().map(|(name, ear)| (name.clone(), heard(name, ear, ears, now))).collect()
}

fn heard(name: &str, ear: &Ear, all: &BTreeMap<String, Ear>, now: Instant) -> Heard {
    let sights: Vec<Sight> = all
        .iter()
        .filter(|(by, _)| *by != name)
        .filter_map(|(by, other)| Some(Sight { by: by.clone(), heard: *other.hears.get(name)? }))
        .collect();
    let presence = node::judge(&ear.accrual, &sights, now);
    let last = ear.accrual.last();
    let seen_by = match (presence, last) {
        (Presence::Cut, Some(last)) => {
            node::seen_by(last, &sights, now).map(|sight| sight.by.clone()).collect()
        }
        _ => Vec::new(),
    };
    Heard {
        presence,
        phi: ear.accrual.phi(now, Duration::ZERO),
        rtt: ear.rtt,
        ago: last.map(|last| now.saturating_duration_since(last)),
        seen_by,
        error: ear.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::phi::BEAT;

    fn ear(last: Instant) -> Ear {
        let mut ear = Ear::default();
        for i in (0..100).rev() {
            ear.accrual.observe(last - BEAT * i);
        }
        ear
    }

    #[test]
    fn a_keeper_that_stood_still_accuses_nobody() {
        let now = clock::now() + Duration::from_secs(1000);
        let stopped = Duration::from_secs(30);
        let mut ears = BTreeMap::from([("a".to_owned(), ear(now - stopped))]);
        let late = look(&mut ears, Duration::ZERO, now);
        assert_eq!(late["a"].presence, Presence::Silent);
        let forgiven = look(&mut ears, stopped, now);
        assert_eq!(forgiven["a"].presence, Presence::Up);
    }

    #[test]
    fn what_another_node_hears_is_cut_and_not_silent() {
        let now = clock::now() + Duration::from_secs(1000);
        let late = Duration::from_secs(10);
        let mut seer = ear(now);
        seer.hears.insert("a".into(), now - BEAT);
        // Its own word, or that of one who has not heard it either, is none.
        seer.hears.insert("c".into(), now - late);
        let mut liar = ear(now - late);
        liar.hears.insert("c".into(), now);
        let mut ears = BTreeMap::from([
            ("a".to_owned(), ear(now - late)),
            ("b".to_owned(), seer),
            ("c".to_owned(), liar),
        ]);
        let seen = look(&mut ears, Duration::ZERO, now);
        assert_eq!(
            (seen["a"].presence, &*seen["a"].seen_by),
            (Presence::Cut, &["b".to_owned()][..])
        );
        assert_eq!(seen["b"].presence, Presence::Up);
        assert_eq!(seen["c"].presence, Presence::Silent);
        assert!(seen["a"].phi > 100.0);
    }
}
