//! What all workers share. Everything here is read on the request path and so is atomic;
//! the one lock (quarantine) is taken only while something is quarantined.

use crate::cache::Caches;
use crate::route::Table;
use crate::settings::GatewaySettings;
use crate::trace::Tracer;
use crate::worker::Worker;
use arc_swap::ArcSwap;
use evenkeel_domain::event::{EventKind, EventLog};
use evenkeel_domain::{Outcome, Replica, Signal, SignalKind};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// State shared by all workers of one gateway.
#[derive(Debug)]
pub struct Shared {
    /// Services and routes.
    pub table: ArcSwap<Table>,
    /// Settings of the gateway itself.
    pub settings: GatewaySettings,
    /// Memory for bodies.
    pub memory: MemoryBudget,
    /// Answers that are kept.
    pub caches: Caches,
    /// Requests that are refused for good.
    pub quarantine: Quarantine,
    /// To the health authority; a full channel drops signals rather than hold up a request.
    signals: mpsc::Sender<Signal>,
    /// Signals dropped so.
    pub signals_dropped: AtomicU64,
    /// What happened, for people.
    pub events: Arc<EventLog>,
    /// Client connections open.
    pub connections: AtomicUsize,
    /// Answers refused before they reached a service.
    pub rejected: AtomicU64,
    /// Turns true once: stop accepting, finish what is there.
    pub draining: watch::Sender<bool>,
    /// Lines of the access log.
    pub access: Option<crate::access_log::AccessLog>,
    /// Spans of requests, when they are exported.
    pub trace: Option<Arc<Tracer>>,
}

impl Shared {
    /// Shared state with an empty table.
    #[must_use]
    pub fn new(
        settings: GatewaySettings,
        signals: mpsc::Sender<Signal>,
        events: Arc<EventLog>,
        access: Option<crate::access_log::AccessLog>,
        trace: Option<Arc<Tracer>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(Table::default()),
            memory: MemoryBudget::new(settings.limits.memory),
            settings,
            caches: Caches::default(),
            quarantine: Quarantine::default(),
            signals,
            signals_dropped: AtomicU64::new(0),
            events,
            connections: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            draining: watch::Sender::new(false),
            access,
            trace,
        })
    }

    /// Tells the health authority; never waits.
    pub(crate) fn signal(&self, replica: &Replica, kind: SignalKind, at: Instant) {
        let signal = Signal {
            replica: replica.id.key,
            incarnation: replica.live.incarnation(),
            observer: "gateway",
            at,
            kind,
        };
        if self.signals.try_send(signal).is_err() {
            self.signals_dropped.fetch_add(1, Relaxed);
        }
    }

    /// Counts the outcome of an attempt and reports what the authority must know at once:
    /// each fault, and the first good answer after faults. The rest it reads from counters.
    pub(crate) fn settle_attempt(&self, replica: &Replica, outcome: Outcome, now: Instant) {
        let row = replica.live.record_outcome(outcome, now);
        if outcome.blames_replica() || (outcome == Outcome::Ok && row > 0) {
            self.signal(replica, SignalKind::Attempt(outcome), now);
        }
    }
}

/// A bound on the bytes of bodies held in memory.
#[derive(Debug)]
pub struct MemoryBudget {
    used: AtomicU64,
    limit: u64,
}

impl MemoryBudget {
    fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

/// A part of the budget, given back when dropped.
pub(crate) struct Reserved {
    worker: Rc<Worker>,
    bytes: u64,
}

/// Bodies up to this size are not counted: what they take is bounded by the number of
/// connections, as the buffers of each connection are.
const UNCOUNTED: u64 = 16 << 10;

impl Reserved {
    pub(crate) fn none(worker: &Rc<Worker>) -> Self {
        Self { worker: worker.clone(), bytes: 0 }
    }

    /// Grows to `bytes` in all; `false` when the budget does not have them.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> bool {
        if bytes <= UNCOUNTED.max(self.bytes) {
            return true;
        }
        let more = bytes - self.bytes;
        let budget = &self.worker.shared.memory;
        if budget.used.fetch_add(more, Relaxed) + more > budget.limit {
            budget.used.fetch_sub(more, Relaxed);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.worker.shared.memory.used.fetch_sub(self.bytes, Relaxed);
        }
    }
}

/// Requests that killed three replicas, by hash.
#[derive(Debug, Default)]
pub struct Quarantine {
    held: AtomicUsize,
    until: Mutex<HashMap<u64, Instant>>,
}

/// How long a query of death is refused.
const QUARANTINE: Duration = Duration::from_secs(600);
/// How many hashes are remembered: an attacker must kill three replicas for each.
const QUARANTINED_MAX: usize = 1024;

impl Quarantine {
    /// Whether anything is quarantined: lets the request path skip hashing.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Relaxed) == 0
    }

    /// Whether this request is refused.
    pub(crate) fn holds(&self, hash: u64, now: Instant) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, end| *end > now);
        self.held.store(until.len(), Relaxed);
        until.contains_key(&hash)
    }

    /// Refuses this request from now on.
    pub(crate) fn add(&self, hash: u64, service: &str, events: &EventLog, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() < QUARANTINED_MAX && until.insert(hash, now + QUARANTINE).is_none() {
            let hash = format!("{hash:016x}");
            tracing::error!(
                service,
                hash,
                "a request was in flight at three replica deaths; its like is refused for ten minutes"
            );
            events.push(EventKind::Quarantined { service: service.into(), hash });
        }
        self.held.store(until.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;

    #[test]
    fn the_budget_is_never_overdrawn_and_always_given_back() {
        let (tx, _rx) = mpsc::channel(1);
        let mut settings = GatewaySettings::default();
        settings.limits.memory = 100 << 10;
        let shared = Shared::new(settings, tx, Arc::default(), None, None);
        let worker = Rc::new(Worker::new(shared.clone()));
        let mut a = Reserved::none(&worker);
        let mut b = Reserved::none(&worker);
        assert!(a.grow_to(60 << 10) && a.grow_to(40 << 10) && b.grow_to(40 << 10));
        assert!(!b.grow_to(41 << 10));
        drop(a);
        assert!(b.grow_to(100 << 10));
        assert_eq!(shared.memory.used(), 100 << 10);
        drop(b);
        assert_eq!(shared.memory.used(), 0);
    }

    #[test]
    fn quarantine_ends() {
        let quarantine = Quarantine::default();
        let now = clock::now();
        assert!(quarantine.is_empty());
        quarantine.add(7, "chat", &EventLog::default(), now);
        assert!(!quarantine.is_empty() && quarantine.holds(7, now) && !quarantine.holds(8, now));
        assert!(!quarantine.holds(7, now + QUARANTINE));
        assert!(quarantine.is_empty());
    }
}
