//! The query of death: a request that kills what answers it must not walk through the
//! fleet.
//!
//! A connection that broke is only suspicion; it counts as a death once the replica is
//! known to be gone (it refuses, exited, or has started anew). After two, the request runs
//! only where no other suspect runs; after three it is refused, and so is its like for a
//! while.

use crate::attempt::Failed;
use crate::error::Refusal;
use crate::route::Entry;
use crate::template::{Template, TemplateBody};
use crate::worker::Worker;
use evenkeel_domain::{Gate, Incarnation, Replica, clock};
use smallvec::SmallVec;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Deaths after which a request runs apart from other suspects.
const APART: usize = 2;
/// How long it waits before that.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a suspect waits for a replica without another one. After that it runs beside
/// them, and a death there proves nothing: those who wait are mostly innocent.
const APART_WAIT: Duration = Duration::from_millis(700);
/// Deaths after which it is refused.
const REFUSED: usize = 3;

/// The replicas that may have died of one request.
#[derive(Default)]
pub(super) struct Deaths {
    suspected: SmallVec<[(u64, Incarnation); 2]>,
    /// Since when it has to run apart.
    apart: Option<Instant>,
    /// Whether its last attempt had no other suspect beside it.
    alone: Cell<bool>,
}

impl Deaths {
    /// Refuses a request whose like is quarantined.
    pub(super) fn admit(&self, worker: &Worker, template: &Template) -> Result<(), Refusal> {
        let quarantine = &worker.shared.quarantine;
        if quarantine.is_empty() || !quarantine.holds(hash(template), clock::now()) {
            return Ok(());
        }
        Err(Refusal::QueryOfDeath(REFUSED))
    }

    /// Takes note of a failed attempt. Gives how long to wait before the next one: when
    /// several replicas are ended at once by somebody, the request is in flight at two
    /// deaths within milliseconds and has caused neither. A pause tells the two apart.
    pub(super) fn note(&mut self, failed: &Failed) -> Option<Duration> {
        if !failed.may_be_death() {
            return None;
        }
        self.suspected.push(failed.replica);
        (self.suspected.len() >= APART).then_some(PAUSE)
    }

    /// Judges what was noted, after the pause.
    pub(super) fn judge(
        &mut self,
        worker: &Worker,
        entry: &Entry,
        template: &Template,
    ) -> Result<(), Refusal> {
        if self.suspected.len() < APART {
            return Ok(());
        }
        let dead = self.confirmed(entry);
        if dead >= APART {
            self.apart.get_or_insert_with(clock::now);
        }
        if dead < REFUSED || !self.alone.get() {
            return Ok(());
        }
        let pool = &entry.service.pool;
        pool.counts.quarantined.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = clock::now();
        worker.shared.quarantine.add(hash(template), &pool.name, &worker.shared.events, now);
        Err(Refusal::QueryOfDeath(dead))
    }

    fn confirmed(&self, entry: &Entry) -> usize {
        let members = entry.service.pool.members();
        let gone = |(key, incarnation): &&(u64, Incarnation)| {
            members.iter().find(|r| r.id.key == *key).is_none_or(|replica| {
                replica.live.incarnation() != *incarnation || replica.live.gate() == Gate::Shut
            })
        };
        self.suspected.iter().filter(gone).count()
    }

    /// Whether this request must not go to a replica: it is a suspect itself, and the
    /// replica has other requests that would die with it.
    pub(super) fn must_avoid(&self, replica: &Replica, now: Instant) -> bool {
        self.wait_left(now).is_some() && replica.live.suspects() > 0
    }

    /// How much longer it waits for a replica without other suspects.
    pub(super) fn wait_left(&self, now: Instant) -> Option<Duration> {
        let left = (self.apart? + APART_WAIT).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// An attempt begins, on a replica with no other suspect or not.
    pub(super) fn begins(&self, alone: bool) {
        self.alone.set(alone);
    }

    /// Whether the request runs apart.
    pub(super) fn is_apart(&self) -> bool {
        self.apart.is_some()
    }
}

fn hash(template: &Template) -> u64 {
    let mut hasher = DefaultHasher::new();
    template.uri.path().hash(&mut hasher);
    if let TemplateBody::Whole(bytes, _) = &template.body {
        bytes.hash(&mut hasher);
    }
    hasher.finish()
}
