//! The last minute of counters that only ever rise.
//!
//! ```text
//!   start ──┬──┬──┬── … ──┬── now       a sample every 5 s, thirteen of them kept
//!           └──── since(oldest) ─┘      rate and quantiles of the last minute
//! ```
//!
//! Counters since the start tell little after a day; every reader keeping a sample of its
//! own would make each first answer empty. Here one answers for all.

use crate::ports::Source;
use evenkeel_domain::histogram::Snapshot;
use evenkeel_domain::{Outcome, Pool, Replica, outcome};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two samples.
pub(crate) const TICK: Duration = Duration::from_secs(5);
/// Samples kept: a minute's worth.
const KEPT: usize = 13;

/// The counters of a service or replica at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// All that ended.
    pub(crate) ended: u64,
    /// … not by the client's doing and not well.
    pub(crate) errors: u64,
    /// Server-sent events.
    pub(crate) events: u64,
    pub(crate) first_byte: Snapshot,
    /// Empty for a replica.
    pub(crate) total: Snapshot,
    /// Empty for a replica.
    pub(crate) queue_wait: Snapshot,
}

impl Tally {
    pub(crate) fn of_pool(pool: &Pool) -> Self {
        let (ended, errors) = sums(|outcome| pool.counts.requests(outcome));
        Self {
            ended,
            errors,
            events: pool.counts.events.load(Relaxed),
            first_byte: pool.counts.first_byte.snapshot(),
            total: pool.counts.total.snapshot(),
            queue_wait: pool.counts.queue_wait.snapshot(),
        }
    }

    pub(crate) fn of_replica(replica: &Replica) -> Self {
        let (ended, errors) = sums(|outcome| replica.live.count(outcome));
        let first_byte = replica.live.first_byte.snapshot();
        Self { ended, errors, first_byte, ..Self::default() }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            ended: self.ended.saturating_sub(earlier.ended),
            errors: self.errors.saturating_sub(earlier.errors),
            events: self.events.saturating_sub(earlier.events),
            first_byte: self.first_byte.since(&earlier.first_byte),
            total: self.total.since(&earlier.total),
            queue_wait: self.queue_wait.since(&earlier.queue_wait),
        }
    }
}

fn sums(count: impl Fn(Outcome) -> u64) -> (u64, u64) {
    outcome::ALL.into_iter().fold((0, 0), |(ended, errors), outcome| {
        let n = count(outcome);
        (ended + n, errors + if is_error(outcome) { n } else { 0 })
    })
}

/// What a client's own doing is not.
fn is_error(outcome: Outcome) -> bool {
    outcome.blames_replica() || outcome == Outcome::Backpressure
}

struct Sample {
    at: Instant,
    services: HashMap<Arc<str>, Tally>,
    replicas: HashMap<u64, Tally>,
}

/// The samples.
pub(crate) struct Window {
    started: Instant,
    samples: Mutex<VecDeque<Sample>>,
}

impl Window {
    /// Spans the time from `now` until it is full.
    pub(crate) fn new(now: Instant) -> Self {
        Self { started: now, samples: Mutex::default() }
    }

    /// Takes a sample; the oldest goes.
    pub(crate) fn sample(&self, source: &dyn Source, now: Instant) {
        let (mut services, mut replicas) = (HashMap::new(), HashMap::new());
        for (_, pool) in source.services() {
            for replica in pool.members().iter() {
                replicas.insert(replica.id.key, Tally::of_replica(replica));
            }
            services.insert(pool.name.clone(), Tally::of_pool(&pool));
        }
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(Sample { at: now, services, replicas });
    }

    /// How far back it reaches; at least a second, so that rates stay sensible.
    pub(crate) fn span(&self, now: Instant) -> Duration {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let from = if samples.len() < KEPT { None } else { samples.front().map(|s| s.at) };
        now.saturating_duration_since(from.unwrap_or(self.started)).max(Duration::from_secs(1))
    }

    /// What a service did within it.
    pub(crate) fn service(&self, name: &str, now: &Tally) -> Tally {
        self.since(now, |sample| sample.services.get(name))
    }

    /// What a replica did within it.
    pub(crate) fn replica(&self, key: u64, now: &Tally) -> Tally {
        self.since(now, |sample| sample.replicas.get(&key))
    }

    /// What is not in the oldest sample is younger than that, and so counts from nothing.
    fn since(&self, now: &Tally, find: impl Fn(&Sample) -> Option<&Tally>) -> Tally {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < KEPT {
            return now.clone();
        }
        samples.front().and_then(find).map_or_else(|| now.clone(), |then| now.since(then))
    }
}
