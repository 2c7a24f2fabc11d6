//! Choosing a replica: the health gate first, then the policy.

use super::Exchange;
use crate::attempt::guard::{AttemptGuard, RequestGuard};
use crate::balance::{Candidate, PickContext};
use crate::route::Entry;
use crate::worker::Worker;
use evenkeel_domain::{Gate, Replica, clock};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Which replicas come into question, from best to worst. A later class is looked at only
/// when all before it are empty: while a better replica is full, its next place is waited for.
const CLASSES: [Class; 6] = [
    Class { gate: Gate::Open, tried: false, busy: false },
    Class { gate: Gate::Open, tried: false, busy: true },
    // A standby, once nobody on duty is left to ask.
    Class { gate: Gate::Reserve, tried: false, busy: true },
    Class { gate: Gate::LastResort, tried: false, busy: true },
    Class { gate: Gate::LastResort, tried: true, busy: true },
    Class { gate: Gate::Desperate, tried: true, busy: true },
];

/// Places that others may take in between before a pick is given up.
const LOST_RACES: usize = 4;

/// The worst that a class still takes.
struct Class {
    gate: Gate,
    tried: bool,
    busy: bool,
}

/// What came of a pick within a class.
enum Picked {
    Attempt(AttemptGuard),
    /// Replicas of this class have all they can take.
    Full,
    /// There is none.
    Nobody,
}

impl Exchange {
    /// An attempt on the best replica there is, or `None` when none can take it.
    pub(super) fn pick(&self, now: Instant) -> Option<AttemptGuard> {
        for class in &CLASSES {
            match self.pick_of(class, now) {
                Picked::Attempt(attempt) => return Some(attempt),
                Picked::Full => return None,
                Picked::Nobody => {}
            }
        }
        None
    }

    /// An attempt on a replica in good health that this request has not tried.
    pub(super) fn pick_fresh(&self, now: Instant) -> Option<AttemptGuard> {
        for class in [&CLASSES[1], &CLASSES[2]] {
            match self.pick_of(class, now) {
                Picked::Attempt(attempt) => return Some(attempt),
                Picked::Full => return None,
                Picked::Nobody => {}
            }
        }
        None
    }

    fn pick_of(&self, class: &Class, now: Instant) -> Picked {
        for _ in 0..LOST_RACES {
            let members = self.entry.service.pool.members();
            let fits = |replica: &&Arc<Replica>| {
                let live = &replica.live;
                live.gate() <= class.gate
                    && self.is_same_revision(replica)
                    && self.is_on_panel(replica)
                    && (class.tried || !self.is_tried(replica.id.key))
                    && (class.busy || !live.is_busy(now))
                    && !self.deaths.must_avoid(replica, now)
            };
            let mut full = false;
            let fitting: SmallVec<[&Arc<Replica>; 8]> = members
                .iter()
                .filter(fits)
                .filter(|replica| {
                    let room = self.has_room(replica);
                    full |= !room;
                    room
                })
                .collect();
            let Some(chosen) = self.choose(&fitting) else {
                return if full { Picked::Full } else { Picked::Nobody };
            };
            if let Some(attempt) = self.enter(chosen, now) {
                return Picked::Attempt(attempt);
            }
        }
        Picked::Full
    }

    fn choose<'m>(&self, fitting: &[&'m Arc<Replica>]) -> Option<&'m Arc<Replica>> {
        let candidates: SmallVec<[Candidate; 8]> = fitting.iter().map(|r| candidate(r)).collect();
        let mut rng = self.worker.rng.borrow_mut();
        let mut ctx = PickContext { source: self.asker.source, key: self.asker.key, rng: &mut rng };
        let at = self.entry.policy.pick(&candidates, &mut ctx)?;
        fitting.get(at).copied()
    }

    /// An answer is gone on with only by the model version that began it.
    fn is_same_revision(&self, replica: &Replica) -> bool {
        self.onward.as_ref().is_none_or(|onward| **onward.revision() == *replica.id.revision)
    }

    /// Of several voices each asks another replica.
    fn is_on_panel(&self, replica: &Replica) -> bool {
        self.panel.as_ref().is_none_or(|panel| panel.admits(replica))
    }

    /// Whether a replica has room for this request: what has time does not take the last
    /// places, so that people find one free.
    fn has_room(&self, replica: &Replica) -> bool {
        if self.asker.waits { replica.has_room() } else { replica.has_room_aside() }
    }

    /// Counts an attempt in, unless another thread has taken the place.
    fn enter(&self, replica: &Arc<Replica>, now: Instant) -> Option<AttemptGuard> {
        let apart = self.deaths.is_apart();
        let alone = replica.live.suspects() == 0;
        let aside = !self.asker.waits;
        let attempt =
            AttemptGuard::try_enter(&self.worker, &self.request, replica, now, apart, aside)?;
        if let Some(panel) = &self.panel {
            panel.takes(replica.id.key);
        }
        if replica.live.gate() > Gate::Reserve {
            self.entry.service.pool.counts.panics.fetch_add(1, Relaxed);
        }
        if !self.is_tried(replica.id.key) {
            self.tried.borrow_mut().push(replica.id.key);
        }
        self.attempts.set(self.attempts.get() + 1);
        self.request.attempt_made();
        self.deaths.begins(alone);
        Some(attempt.traced(self.template.trace.as_ref()))
    }

    /// Whether a replica in good health takes work and was not tried, standbys included.
    pub(super) fn has_fresh(&self, now: Instant) -> bool {
        self.has_fresh_within(Gate::Reserve, now)
    }

    /// The same of those on duty alone.
    pub(super) fn has_fresh_on_duty(&self, now: Instant) -> bool {
        self.has_fresh_within(Gate::Open, now)
    }

    fn has_fresh_within(&self, gate: Gate, now: Instant) -> bool {
        self.entry.service.pool.members().iter().any(|r| {
            r.live.gate() <= gate
                && self.has_room(r)
                && self.is_same_revision(r)
                && self.is_on_panel(r)
                && !r.live.is_busy(now)
                && !self.is_tried(r.id.key)
        })
    }

    /// Whether every replica that could take this request has been tried by it.
    pub(super) fn all_tried(&self) -> bool {
        self.entry
            .service
            .pool
            .members()
            .iter()
            .filter(|r| r.live.gate() < Gate::Shut)
            .all(|r| self.is_tried(r.id.key))
    }
}

/// An attempt on any replica in good health, for what is not an exchange (upgrades).
pub(crate) fn pick_any(
    worker: &Rc<Worker>,
    entry: &Entry,
    request: &Rc<RequestGuard>,
    source: u64,
) -> Option<AttemptGuard> {
    let pool = &entry.service.pool;
    let members = pool.members();
    let with = |gate| -> SmallVec<[&Arc<Replica>; 8]> {
        members.iter().filter(|r| r.live.gate() == gate && r.has_room()).collect()
    };
    let mut fitting = with(Gate::Open);
    if fitting.is_empty() {
        fitting = with(Gate::Reserve);
    }
    let candidates: SmallVec<[Candidate; 8]> = fitting.iter().map(|r| candidate(r)).collect();
    let mut rng = worker.rng.borrow_mut();
    let at =
        entry.policy.pick(&candidates, &mut PickContext { source, key: source, rng: &mut rng })?;
    AttemptGuard::try_enter(worker, request, fitting.get(at)?, clock::now(), false, false)
}

fn candidate(replica: &Arc<Replica>) -> Candidate {
    Candidate {
        key: replica.id.key,
        name_hash: replica.id.name_hash,
        in_flight: replica.live.in_flight(),
        max_in_flight: replica.bound(),
        weight: replica.effective_weight(),
        latency_us: u64::try_from(replica.live.latency().as_micros()).unwrap_or(u64::MAX),
    }
}
