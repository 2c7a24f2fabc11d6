//! Requests that wait for a place, over all worker threads of a gateway.
//!
//! ```text
//!   no place ─► join ─► core         ┐              one place, one request woken
//!                │      best effort  ┴─► dispatch ─► grant ─► pick ─► attempt
//!                └─ would wait too long: refused at once             │
//!   attempt ends, limit rises, replica opens ─► look ────────────────┘
//! ```
//! While nobody waits this costs a request one load, when it begins and when it ends. Beyond
//! that there is one lock for each service, held for a few microseconds.
//!
//! While there is no replica at all, requests are held: longer, and none is refused for the
//! others that wait.

mod codel;
mod lane;
mod pace;
mod places;
mod state;
#[cfg(test)]
mod tests;
mod ticket;

use codel::Law;
use evenkeel_domain::pool::{Refused, Waiting};
use evenkeel_domain::settings::{ServiceSettings, Tier};
use evenkeel_domain::{Pool, clock};
use places::Places;
use state::State;
use std::any::Any;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
pub(crate) use ticket::{Ticket, Turn};

/// What decides who waits how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// While there is a replica.
    max_wait: Duration,
    /// While there is none.
    hold: Duration,
    /// How many may wait.
    most: u32,
    law: Law,
}

impl Rules {
    /// Those of a service.
    pub(crate) fn of(settings: &ServiceSettings) -> Self {
        let (target, interval) = settings.queue.codel(settings.protocol);
        Self {
            max_wait: settings.queue.max_wait,
            hold: settings.hold.time,
            most: settings.hold.requests,
            law: Law { target, interval },
        }
    }

    /// For a request that has waited so long before.
    pub(crate) fn less(self, waited: Duration) -> Self {
        Self {
            max_wait: self.max_wait.saturating_sub(waited),
            hold: self.hold.saturating_sub(waited),
            ..self
        }
    }
}

/// Who wants to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comer {
    pub(crate) tier: Tier,
    /// Requests of one flow wait for each other rather than for those of others.
    pub(crate) flow: u64,
    /// What it asks for, in tokens or any other unit that is the same for all.
    pub(crate) cost: u64,
    /// Its own deadline.
    pub(crate) deadline: Instant,
    /// It had a place before: it goes to the front, and is not refused for those that wait.
    pub(crate) again: bool,
}

/// Why somebody may not wait, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct No {
    pub(crate) why: Refused,
    /// How many wait.
    pub(crate) waiting: u32,
    /// How long it would have taken, as far as that is known.
    pub(crate) wait: Option<Duration>,
}

/// Those who wait for a pool's replicas.
#[derive(Debug)]
pub(crate) struct Queue {
    pool: Weak<Pool>,
    /// Requests that wait, and those that were given a place and have not taken it yet.
    busy: AtomicU32,
    /// Moving mean of how long an attempt takes, in microseconds; 0 while unknown.
    attempt_us: AtomicU64,
    state: Mutex<State>,
}

impl Queue {
    /// The queue of a pool, the same for as long as the pool lives.
    pub(crate) fn of(pool: &Arc<Pool>) -> Arc<Self> {
        let make = || Arc::new(Self::new(Arc::downgrade(pool)));
        let waiting: Arc<dyn Any + Send + Sync> = pool.waiting(|| make()).clone();
        // Nobody else waits for pools; if somebody did, two queues would serve one pool.
        waiting.downcast().unwrap_or_else(|_| make())
    }

    fn new(pool: Weak<Pool>) -> Self {
        Self {
            pool,
            busy: AtomicU32::new(0),
            attempt_us: AtomicU64::new(0),
            state: Mutex::new(State::new(clock::now())),
        }
    }

    /// Whether somebody waits: then nobody may take a place without waiting, too.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(SeqCst) > 0
    }

    /// An attempt ended: its place is free.
    pub(crate) fn left(&self) {
        if self.is_busy() {
            self.look();
        }
    }

    /// A good attempt took so long.
    pub(crate) fn took(&self, time: Duration) {
        let new = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.attempt_us.load(Relaxed);
        // Two workers may overwrite each other here; the mean is an estimate either way.
        let mean = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.attempt_us.store(mean.max(1), Relaxed);
    }

    /// Time between two places when all are used, by Little's law.
    fn gap(&self, places: Places) -> Option<Duration> {
        match (self.attempt_us.load(Relaxed), places.used.saturating_add(places.free)) {
            (0, _) | (_, 0) => None,
            (us, all) => Some(Duration::from_micros(us) / all),
        }
    }

    /// Waits from now on.
    ///
    /// # Errors
    /// At once, when waiting would be of no use.
    pub(crate) fn join(self: &Arc<Self>, comer: Comer, rules: Rules) -> Result<Ticket, No> {
        let now = clock::now();
        let places = self.places(now);
        let mut state = self.lock();
        state.see(places, now);
        if !comer.again {
            state.admit(&comer, &rules, self.gap(places), places, now)?;
        }
        let (number, turn) = state.push(comer, rules, now);
        self.publish(&state);
        // Places that got free before this was seen to wait are seen here.
        state.dispatch(self.places(now), now);
        self.publish(&state);
        Ok(Ticket::new(self.clone(), number, turn, comer, rules, now))
    }

    /// A place that was given is taken, or (`unused`) free for the next.
    fn settle_grant(&self, unused: bool) {
        let now = clock::now();
        let mut state = self.lock();
        state.settle_grant();
        if unused {
            state.happened();
        }
        // Another place may have got free while this one was counted twice: as given, and
        // as taken.
        if state.waiting() > 0 {
            state.dispatch(self.places(now), now);
        }
        self.publish(&state);
    }

    /// Looks in case nothing happens that tells of a place: a replica is busy no longer, or
    /// nobody came any more.
    pub(crate) fn tick(&self, now: Instant) {
        let Some(pool) = self.pool.upgrade() else { return };
        if self.is_busy() {
            self.look();
        } else if Tier::ALL.iter().any(|tier| pool.counts.is_overloaded(*tier)) {
            let mut state = self.lock();
            state.calm_down(now);
            self.publish(&state);
        }
    }

    fn places(&self, now: Instant) -> Places {
        self.pool.upgrade().map_or_else(Places::default, |p| places::count(&p.members(), now))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes known how many wait.
    fn publish(&self, state: &State) {
        self.busy.store(state.waiting() + state.granted(), SeqCst);
        if let Some(pool) = self.pool.upgrade() {
            let counts = &pool.counts;
            counts.held.store(state.waiting(), Relaxed);
            for tier in Tier::ALL {
                counts.set_overloaded(tier, state.is_overloaded(tier));
            }
        }
    }
}

impl Waiting for Queue {
    fn look(&self) {
        let now = clock::now();
        let mut state = self.lock();
        let places = self.places(now);
        state.see(places, now);
        state.happened();
        state.dispatch(places, now);
        self.publish(&state);
    }
}
