//! The one authority over the state of every replica.
//!
//! It takes signals and orders in, keeps one record per replica, and writes each change to
//! the replica, the event log and the service log, with the evidence. Nobody else writes
//! a replica's state, and this never waits for anybody.

mod compare;
mod flap;
mod names;
mod normal;
mod record;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod unusual;

use crate::operator::Override;
use compare::Compare;
use evenkeel_domain::event::{EventKind, EventLog};
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::{Health, Pool, Replica, Signal, SignalKind, clock};
use names::Names;
use normal::Normal;
use record::Record;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use unusual::Unusual;

/// Time-based changes and counters are looked at this often.
const SWEEP: Duration = Duration::from_millis(250);
/// While requests wait on a replica for longer than is normal, it is looked at this often:
/// what hangs must be known within a second.
const GLANCE: Duration = Duration::from_millis(50);
/// … for so long after the last one was reported.
const GLANCES_FOR: Duration = Duration::from_secs(3);
/// Sweeps between two looks at latencies.
const LATENCY_EVERY: u32 = 4;
/// Sweeps between two values of the series that are watched for anomalies.
const SERIES_EVERY: u32 = 40;
/// Orders that may wait: they come from people and from configuration changes.
const ORDERS: usize = 256;

/// What the authority is told besides signals.
#[derive(Debug)]
enum Order {
    Members(Arc<ServiceSettings>, Arc<Pool>),
    Overrides(Vec<Override>),
    Renewed(u64, oneshot::Sender<()>),
    Judge,
}

/// A way to tell the authority.
#[derive(Debug, Clone)]
pub struct AuthorityHandle {
    orders: mpsc::Sender<Order>,
    signals: mpsc::Sender<Signal>,
}

impl AuthorityHandle {
    /// The service's members changed: new ones get a record, gone ones lose theirs.
    pub async fn members(&self, settings: Arc<ServiceSettings>, pool: Arc<Pool>) {
        // The authority ends only with the process.
        let _ = self.orders.send(Order::Members(settings, pool)).await;
    }

    /// Replaces all operators' orders.
    pub async fn overrides(&self, all: Vec<Override>) {
        let _ = self.orders.send(Order::Overrides(all)).await;
    }

    /// A replica's model was loaded anew. Once this returns, only what is measured from now on
    /// counts.
    pub async fn renewed(&self, key: u64) {
        let (done, heard) = oneshot::channel();
        let _ = self.orders.send(Order::Renewed(key, done)).await;
        let _ = heard.await;
    }

    /// The duties of replicas changed: what follows is looked at now.
    pub fn duties(&self) {
        // Should too much wait, the next sweep sees it.
        let _ = self.orders.try_send(Order::Judge);
    }

    /// Where signals go.
    #[must_use]
    pub fn signals(&self) -> mpsc::Sender<Signal> {
        self.signals.clone()
    }
}

/// What a probe runner must know of a replica.
#[derive(Debug, Clone)]
pub struct Target {
    /// The replica.
    pub replica: Arc<Replica>,
    /// Settings of its service.
    pub settings: Arc<ServiceSettings>,
    /// Wakes the runner to probe now.
    pub now: Arc<Notify>,
}

/// Starts and stops probe runners; wired by the application.
pub trait Probing: Send {
    /// Probes this replica from now on.
    fn start(&mut self, target: Target);
    /// No longer.
    fn stop(&mut self, key: u64);
}

struct Group {
    settings: Arc<ServiceSettings>,
    pool: Arc<Pool>,
    learnt: Learnt,
}

/// What the group's past tells; it stays when its members change.
#[derive(Default)]
struct Learnt {
    normal: Normal,
    compare: Compare,
    names: Names,
    unusual: Unusual,
}

/// The authority's state.
pub struct Authority<P> {
    orders: mpsc::Receiver<Order>,
    signals: mpsc::Receiver<Signal>,
    records: HashMap<u64, Record>,
    groups: HashMap<Arc<str>, Group>,
    overrides: Vec<Override>,
    events: Arc<EventLog>,
    probing: P,
    sweeps: u32,
    /// Replicas on which requests wait, and until when that is looked at more often.
    waited_on: HashMap<u64, Instant>,
}

impl<P: Probing> Authority<P> {
    /// An authority over nothing yet, and the handle to it. `signals` is the receiving end
    /// of the channel that the request path and probes write to.
    #[must_use]
    pub fn new(
        signals: (mpsc::Sender<Signal>, mpsc::Receiver<Signal>),
        events: Arc<EventLog>,
        probing: P,
    ) -> (Self, AuthorityHandle) {
        let (orders_tx, orders) = mpsc::channel(ORDERS);
        let handle = AuthorityHandle { orders: orders_tx, signals: signals.0 };
        let authority = Self {
            orders,
            signals: signals.1,
            records: HashMap::new(),
            groups: HashMap::new(),
            overrides: Vec::new(),
            events,
            probing,
            sweeps: 0,
            waited_on: HashMap::new(),
        };
        (authority, handle)
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut glance = tokio::time::interval(GLANCE);
        glance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order, clock::now()),
                    None => return,
                },
                Some(signal) = self.signals.recv() => self.observe(&signal, clock::now()),
                _ = tick.tick() => self.sweep(clock::now()),
                _ = glance.tick(), if !self.waited_on.is_empty() => self.glance(clock::now()),
            }
        }
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Members(settings, pool) => self.set_members(settings, pool, now),
            Order::Renewed(key, done) => {
                if let Some(record) = self.records.get_mut(&key) {
                    record.renewed(now);
                }
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            Order::Judge => self.judge_all(now),
            Order::Overrides(all) => {
                self.overrides = all;
                self.judge_all(now);
            }
        }
    }

    fn set_members(&mut self, settings: Arc<ServiceSettings>, pool: Arc<Pool>, now: Instant) {
        let members = pool.members();
        let gone: Vec<u64> = self
            .records
            .iter()
            .filter(|(key, record)| {
                record.replica.id.service == pool.name && !members.iter().any(|m| m.id.key == **key)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.probing.stop(key);
            if let Some(record) = self.records.remove(&key) {
                // What it has begun it may end: whoever runs it decides when it stops.
                let why = "no longer configured; ends what it has begun".into();
                record.replica.live.set_health(Health::Draining, true, why, now);
            }
        }
        for replica in members.iter() {
            let key = replica.id.key;
            let unchanged = self.records.get(&key).is_some_and(|r| r.settings == settings);
            if unchanged {
                continue;
            }
            let mut record = Record::new(replica.clone(), settings.clone(), now);
            if let Some(old) = self.records.remove(&key) {
                record.inherit(old);
                self.probing.stop(key);
            }
            self.probing.start(Target {
                replica: replica.clone(),
                settings: settings.clone(),
                now: record.probe_now.clone(),
            });
            self.records.insert(key, record);
        }
        if members.is_empty() && !self.records.values().any(|r| r.replica.id.service == pool.name) {
            self.groups.remove(&pool.name);
            return;
        }
        drop(members);
        let name = pool.name.clone();
        let learnt = self.groups.remove(&name).map(|g| g.learnt).unwrap_or_default();
        self.groups.insert(name, Group { settings, pool, learnt });
        self.judge_all(now);
    }

    fn observe(&mut self, signal: &Signal, now: Instant) {
        let Some(record) = self.records.get_mut(&signal.replica) else { return };
        let current = record.replica.live.incarnation();
        if let SignalKind::Started = signal.kind {
            if signal.incarnation <= current && current.0 != 0 {
                return;
            }
            record.started(signal, now);
            if let Some(group) = self.groups.get_mut(&record.replica.id.service) {
                group.learnt.names.forget(signal.replica);
            }
        } else if signal.incarnation != current {
            return;
        }
        record.observe(signal);
        let key = signal.replica;
        if let SignalKind::Named { asked, said } = &signal.kind {
            return self.named((*asked, key), said, now);
        }
        if matches!(signal.kind, SignalKind::Waiting { .. }) {
            self.waited_on.insert(key, now + GLANCES_FOR);
            self.tally(key, now);
        }
        self.judge(key, now);
    }

    /// Looks at those on which requests wait.
    fn glance(&mut self, now: Instant) {
        self.waited_on.retain(|key, until| now < *until && self.records.contains_key(key));
        for key in self.waited_on.keys().copied().collect::<Vec<_>>() {
            self.tally(key, now);
            self.judge(key, now);
        }
    }

    /// A replica answered under another name than before: all of its service are compared.
    fn named(&mut self, asked: (u64, u64), said: &Arc<str>, now: Instant) {
        let Some(record) = self.records.get(&asked.1) else { return };
        let Some(group) = self.groups.get_mut(&record.replica.id.service) else { return };
        let told = group.learnt.names.said(asked, said, &group.pool.members());
        self.tell(told, now);
        self.judge_all(now);
    }

    fn tell(&mut self, told: Vec<(u64, SignalKind)>, now: Instant) {
        for (key, kind) in told {
            if let Some(record) = self.records.get_mut(&key) {
                record.told(kind, now);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.sweeps = self.sweeps.wrapping_add(1);
        let keys: Vec<u64> = self.records.keys().copied().collect();
        for key in keys {
            self.tally(key, now);
            self.judge(key, now);
        }
        if self.sweeps.is_multiple_of(LATENCY_EVERY) {
            self.learn(now);
        }
    }

    /// Learns what is normal, and tells each replica's detectors how it compares.
    fn learn(&mut self, now: Instant) {
        let with_series = self.sweeps.is_multiple_of(SERIES_EVERY);
        let mut told = Vec::new();
        for group in self.groups.values_mut() {
            group.learnt.normal.learn(&group.pool, &group.settings);
            told.extend(group.learnt.compare.look(&group.pool, now));
            if with_series {
                told.extend(group.learnt.unusual.look(&group.pool, clock::millis(now) / 1000));
            }
        }
        self.tell(told, now);
    }

    fn judge_all(&mut self, now: Instant) {
        let keys: Vec<u64> = self.records.keys().copied().collect();
        for key in keys {
            self.judge(key, now);
        }
    }

    /// Reads a replica's counters into its detectors.
    fn tally(&mut self, key: u64, now: Instant) {
        let Some(record) = self.records.get(&key) else { return };
        let service = record.replica.id.service.clone();
        let still = record.still_for(now);
        let peers_move = self.groups.get(&service).is_some_and(|g| g.peers_move(key, still, now));
        if let Some(record) = self.records.get_mut(&key) {
            record.tally(still, peers_move, now);
        }
    }

    fn judge(&mut self, key: u64, now: Instant) {
        let Some(record) = self.records.get(&key) else { return };
        let may_isolate = self.may_isolate(record);
        let unix = clock::unix_millis();
        let name = &*record.replica.id.name;
        let order = self.overrides.iter().find(|o| o.replica == name && o.holds(unix)).cloned();
        let Some(record) = self.records.get_mut(&key) else { return };
        let Some(change) = record.judge(may_isolate, order.as_ref(), now) else { return };
        let replica = record.replica.id.name.to_string();
        let improved = change.opens;
        tracing::info!(
            replica,
            from = change.from.label(),
            to = change.to.label(),
            why = change.why,
            "replica changed state"
        );
        self.events.push(EventKind::Health {
            replica,
            from: change.from.label().into(),
            to: change.to.label().into(),
            why: change.why,
        });
        if improved && let Some(group) = self.groups.get(&record.replica.id.service) {
            group.pool.improved();
        }
    }

    /// The cap on isolation by statistics, for one more replica of this service.
    fn may_isolate(&self, record: &Record) -> bool {
        let service = &record.replica.id.service;
        let Some(group) = self.groups.get(service) else { return false };
        let members = group.pool.members();
        // What stands by without a model is nobody's peer.
        let awake: Vec<_> = members.iter().filter(|r| r.live.rest().is_none()).collect();
        let isolated = awake
            .iter()
            .filter(|r| r.id.key != record.replica.id.key && r.live.health() == Health::Isolated)
            .count();
        let percent = group.settings.ejection.max_percent as usize;
        (isolated + 1) * 100 <= awake.len() * percent
    }
}

impl Group {
    /// Whether a peer gave a byte within the time that this replica stood still.
    fn peers_move(&self, key: u64, still: Duration, now: Instant) -> bool {
        let now_ms = clock::millis(now);
        let window = u64::try_from(still.as_millis()).unwrap_or(u64::MAX).min(2000);
        self.pool.members().iter().any(|r| {
            let moved = r.live.last_move_ms();
            r.id.key != key && moved != 0 && now_ms.saturating_sub(moved) < window
        })
    }
}
