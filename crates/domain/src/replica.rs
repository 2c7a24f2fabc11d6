//! One running copy of a model, and what is known of it right now.

use crate::ability::Abilities;
use crate::clock;
use crate::conduct::Conduct;
use crate::endpoint::Endpoint;
use crate::health::{Evidence, Gate, Health};
use crate::histogram::Histogram;
use crate::incident::Sign;
use crate::outcome::Outcome;
use crate::room::Room;
pub use crate::secret::Secret;
use crate::standby::{self, Duty, Level, Standby};
use crate::transport::Dial;
use crate::watched::Watched;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Measurements against a replica that are kept: what a person reads.
const SIGNS: usize = 16;
/// No answer has come yet.
const AWAITED: u64 = u64::MAX;

/// One start of a replica. What a dead incarnation still says never counts against its
/// successor.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a replica is; changes only by being replaced.
#[derive(Debug)]
pub struct Identity {
    /// Unique within the process and never used again.
    pub key: u64,
    /// `service-index`, the name people use.
    pub name: Arc<str>,
    /// [`name_hash`] of the name.
    pub name_hash: u64,
    /// The service it belongs to.
    pub service: Arc<str>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which model version it runs; empty when not told.
    pub revision: Arc<str>,
    /// Its share relative to its peers, above 0.
    pub weight: f32,
    /// How many attempts it may have at once; 0 for no bound.
    pub max_in_flight: u32,
    /// Header fields added to every request to it: its own credentials.
    pub headers: Vec<(String, Secret)>,
    /// Speak HTTP/2 with prior knowledge.
    pub h2: bool,
    /// The model's name on this replica, where it differs from what clients ask for.
    pub model: Option<Arc<str>>,
    /// Whether our own supervisor runs it.
    pub supervised: bool,
    /// How long it may take to answer for the first time; `None` where whoever starts it
    /// sees to that.
    pub startup_deadline: Option<Duration>,
    /// What makes it a standby; `None` for an active one.
    pub standby: Option<Standby>,
    /// Opens connections to it.
    pub dial: Arc<dyn Dial>,
}

/// A hash of a replica's name that is the same on every gateway and in every version
/// (FNV-1a), so that hash policies agree.
#[must_use]
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One running copy of a service.
#[derive(Debug)]
pub struct Replica {
    /// What it is.
    pub id: Identity,
    /// What it does right now.
    pub live: Live,
    /// How it can go on with an answer that another one began.
    pub abilities: Abilities,
}

/// The state of a replica that many threads read and few write.
#[derive(Debug)]
pub struct Live {
    health: AtomicU8,
    /// What the health authority found; its duty may narrow it.
    gate: AtomicU8,
    level: Option<Level>,
    duty: AtomicU8,
    /// When a byte of an answer came since [`Live::await_answer`]; [`AWAITED`] until then.
    answered_ms: AtomicU64,
    incarnation: AtomicU64,
    since_ms: AtomicU64,
    /// Share in per mille of its weight: below 1000 during slow start.
    ramp: AtomicU16,
    in_flight: AtomicU32,
    /// Attempts under way of requests that may be queries of death.
    suspects: AtomicU32,
    /// Moving mean of the time to the first byte, in microseconds.
    latency_us: AtomicU64,
    last_ok_ms: AtomicU64,
    /// When a byte of any answer last came from it.
    last_move_ms: AtomicU64,
    /// Until when it asked to be left alone (429, 503), see [`clock::millis`].
    busy_until_ms: AtomicU64,
    /// Answers "busy" since the last good one.
    busy_row: AtomicU32,
    consecutive_faults: AtomicU32,
    outcomes: [AtomicU64; Outcome::COUNT],
    /// Time from sending a request to the head of its answer.
    pub first_byte: Histogram,
    /// How much it may be given at once.
    pub room: Room,
    /// What it is compared with its peers by.
    pub conduct: Conduct,
    /// Why it is in its state, for people.
    why: ArcSwap<String>,
    /// What stands against it, in its state or not.
    evidence: ArcSwap<Evidence>,
    /// The last measurements that spoke against it, oldest first. Written by the authority
    /// only, so the request path never waits here.
    signs: Mutex<VecDeque<Sign>>,
    /// Wakes attempts and streams on this replica when its gate gets narrower. Shared, so
    /// that a stream can own its wait.
    pub worsened: Arc<Notify>,
    /// Who waits for it to be in some state, or to have nothing under way.
    watched: Watched,
}

impl Replica {
    /// A replica in `Starting`, shut to traffic.
    #[must_use]
    pub fn new(id: Identity) -> Self {
        let level = id.standby.as_ref().map(|standby| standby.level);
        Self { id, live: Live::new(level), abilities: Abilities::default() }
    }

    /// How many attempts it may have at once, as configured and as found; 0 for no bound.
    #[must_use]
    pub fn bound(&self) -> u32 {
        match (self.id.max_in_flight, self.live.room.limit()) {
            (0, found) => found,
            (set, 0) => set,
            (set, found) => set.min(found),
        }
    }

    /// Whether its bound is known to be what it can start: set, or found.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.bound() > 0 && (self.id.max_in_flight > 0 || self.live.room.is_found())
    }

    /// How many more attempts it may take.
    #[must_use]
    pub fn room(&self) -> u32 {
        match self.bound() {
            0 => u32::MAX,
            bound => bound.saturating_sub(self.live.in_flight()),
        }
    }

    /// Whether it may take one more attempt.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Counts one more attempt in, where there is room for it. Several threads may try at
    /// once: the bound holds all the same.
    #[must_use]
    pub fn try_enter(&self) -> bool {
        self.try_enter_below(self.bound())
    }

    /// The same for what has time: the last places are left to others.
    #[must_use]
    pub fn try_enter_aside(&self) -> bool {
        let bound = self.bound();
        self.try_enter_below(bound - spare(bound))
    }

    /// Whether there is room for what has time, and some left.
    #[must_use]
    pub fn has_room_aside(&self) -> bool {
        self.room() > spare(self.bound())
    }

    fn try_enter_below(&self, bound: u32) -> bool {
        let before = self.live.enter();
        if bound > 0 && before >= bound {
            self.live.leave();
            return false;
        }
        true
    }

    /// Weight with slow start applied; always above 0.
    #[must_use]
    pub fn effective_weight(&self) -> f32 {
        (self.id.weight * f32::from(self.live.ramp.load(Relaxed)) / 1000.0).max(0.001)
    }
}

/// Places of so many that what has time leaves to others: an eighth, and at least one where
/// that is not the only one. Who comes next so need not wait for an answer to end.
const fn spare(bound: u32) -> u32 {
    match bound {
        0 | 1 => 0,
        2..=15 => 1,
        bound => bound / 8,
    }
}

impl Live {
    fn new(level: Option<Level>) -> Self {
        let duty = if level.is_some() { Duty::Standby } else { Duty::Active };
        Self {
            level,
            duty: AtomicU8::new(duty as u8),
            answered_ms: AtomicU64::new(AWAITED),
            health: AtomicU8::new(Health::Starting as u8),
            gate: AtomicU8::new(Gate::Shut as u8),
            incarnation: AtomicU64::new(0),
            since_ms: AtomicU64::new(clock::millis(clock::now())),
            ramp: AtomicU16::new(1000),
            in_flight: AtomicU32::new(0),
            suspects: AtomicU32::new(0),
            latency_us: AtomicU64::new(0),
            last_ok_ms: AtomicU64::new(0),
            last_move_ms: AtomicU64::new(0),
            busy_until_ms: AtomicU64::new(0),
            busy_row: AtomicU32::new(0),
            consecutive_faults: AtomicU32::new(0),
            outcomes: [const { AtomicU64::new(0) }; Outcome::COUNT],
            first_byte: Histogram::default(),
            room: Room::default(),
            conduct: Conduct::default(),
            why: ArcSwap::from_pointee("not probed yet".to_owned()),
            evidence: ArcSwap::default(),
            signs: Mutex::default(),
            worsened: Arc::default(),
            watched: Watched::default(),
        }
    }

    /// Its state.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Relaxed))
    }

    /// What its state and its duty mean for a pick.
    #[must_use]
    pub fn gate(&self) -> Gate {
        let judged = self.judged();
        match self.level {
            None => judged,
            level => judged.under(self.duty(), level),
        }
    }

    /// What its state alone means, whatever its duty.
    #[must_use]
    pub fn judged(&self) -> Gate {
        Gate::from_u8(self.gate.load(Relaxed))
    }

    /// What it does at the moment.
    #[must_use]
    pub fn duty(&self) -> Duty {
        Duty::from_u8(self.duty.load(Relaxed))
    }

    /// Gives a standby another duty; an active one keeps its own. Attempts waiting on it are
    /// woken when its gate gets narrower.
    pub fn set_duty(&self, duty: Duty) {
        if self.level.is_none() || self.duty() == duty {
            return;
        }
        let before = self.gate();
        self.duty.store(duty as u8, SeqCst);
        self.watched.tell();
        // What runs on a hot one may end there.
        if self.gate() > before && self.gate() > Gate::Reserve {
            self.worsened.notify_waiters();
        }
    }

    /// The state that its duty gives it whatever is measured, and why.
    #[must_use]
    pub fn rest(&self) -> Option<(Health, &'static str)> {
        standby::rest(self.duty(), self.level?)
    }

    /// From now on the next byte of an answer is waited for.
    pub fn await_answer(&self) {
        self.answered_ms.store(AWAITED, Relaxed);
    }

    /// When a byte of an answer came first since [`Live::await_answer`] (see
    /// [`clock::millis`]); `None` until then.
    #[must_use]
    pub fn answered_ms(&self) -> Option<u64> {
        Some(self.answered_ms.load(Relaxed)).filter(|at| *at != AWAITED)
    }

    /// Why it is in its state.
    #[must_use]
    pub fn why(&self) -> Arc<String> {
        self.why.load_full()
    }

    /// Since when it is in its state (see [`clock::millis`]).
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms.load(Relaxed)
    }

    /// Its current start.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Relaxed))
    }

    /// Sets the current start. For the health authority only.
    pub fn set_incarnation(&self, incarnation: Incarnation) {
        self.consecutive_faults.store(0, Relaxed);
        self.conduct.begin_anew();
        self.incarnation.store(incarnation.0, SeqCst);
        self.watched.tell();
    }

    /// Moves it to a state. For the health authority only: nobody else keeps an idea of
    /// health. Attempts waiting on it are woken when its gate gets narrower.
    pub fn set_health(&self, health: Health, definite: bool, why: String, now: Instant) {
        let before = self.judged();
        if self.health() != health {
            self.since_ms.store(clock::millis(now), Relaxed);
        }
        self.why.store(Arc::new(why));
        self.health.store(health as u8, SeqCst);
        let gate = Gate::of(health, definite);
        self.gate.store(gate as u8, SeqCst);
        self.watched.tell();
        if gate > before {
            self.worsened.notify_waiters();
        }
    }

    /// Sets what stands against it. For the health authority only.
    pub fn set_evidence(&self, evidence: Evidence) {
        if **self.evidence.load() != evidence {
            self.evidence.store(Arc::new(evidence));
        }
    }

    /// What stands against it.
    #[must_use]
    pub fn evidence(&self) -> Arc<Evidence> {
        self.evidence.load_full()
    }

    /// Something was measured that speaks against it. For the health authority only.
    pub fn sign(&self, sign: Sign) {
        let mut signs = self.signs.lock().unwrap_or_else(PoisonError::into_inner);
        // One after the other of the same is one, as it was last.
        let same = |last: &Sign| (&last.observer, &last.text) == (&sign.observer, &sign.text);
        if signs.back().is_some_and(same) {
            signs.pop_back();
        }
        if signs.len() == SIGNS {
            signs.pop_front();
        }
        signs.push_back(sign);
    }

    /// The last measurements that spoke against it, oldest first.
    #[must_use]
    pub fn signs(&self) -> Vec<Sign> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Sets the slow-start share, in per mille. For the health authority only.
    pub fn set_ramp(&self, per_mille: u16) {
        self.ramp.store(per_mille.clamp(1, 1000), Relaxed);
    }

    /// The slow-start share, in per mille.
    #[must_use]
    pub fn ramp(&self) -> u16 {
        self.ramp.load(Relaxed)
    }

    /// Attempts under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// One attempt more, bound or not; gives how many there were.
    pub fn enter(&self) -> u32 {
        self.in_flight.fetch_add(1, SeqCst)
    }

    /// One attempt less.
    pub fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.watched.tell();
        }
    }

    /// Waits until `so` holds: looked at when its state or its start changes, and when
    /// nothing is under way any more. Counters beside these do not wake it.
    pub async fn until(&self, so: impl Fn(&Self) -> bool) {
        self.watched.until(|| so(self)).await;
    }

    /// Attempts under way of requests that may be queries of death.
    #[must_use]
    pub fn suspects(&self) -> u32 {
        self.suspects.load(Relaxed)
    }

    /// One such attempt more.
    pub fn enter_suspect(&self) {
        self.suspects.fetch_add(1, Relaxed);
    }

    /// One such attempt less.
    pub fn leave_suspect(&self) {
        self.suspects.fetch_sub(1, Relaxed);
    }

    /// Moving mean of the time to first byte; zero before the first answer.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us.load(Relaxed))
    }

    /// Takes a time to first byte into the mean (weight 1/8) and the histogram.
    pub fn record_first_byte(&self, took: Duration) {
        self.first_byte.record(took);
        let new = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let old = self.latency_us.load(Relaxed);
        // Two workers may overwrite each other here; the mean is an estimate either way.
        let mean = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.latency_us.store(mean.max(1), Relaxed);
    }

    /// Counts an outcome; gives the number of faults in a row before (`Ok`) or including
    /// this one (a fault).
    pub fn record_outcome(&self, outcome: Outcome, now: Instant) -> u32 {
        self.outcomes[outcome.index()].fetch_add(1, Relaxed);
        if outcome == Outcome::Ok {
            self.last_ok_ms.store(clock::millis(now), Relaxed);
            self.moved(now);
            if self.busy_row.load(Relaxed) != 0 {
                self.busy_row.store(0, Relaxed);
            }
            if self.consecutive_faults.load(Relaxed) == 0 {
                return 0;
            }
            return self.consecutive_faults.swap(0, Relaxed);
        }
        if outcome.blames_replica() {
            return self.consecutive_faults.fetch_add(1, Relaxed) + 1;
        }
        0
    }

    /// It said that it is busy: others are preferred until then. Gives how often it has
    /// said so since its last good answer.
    pub fn said_busy(&self) -> u32 {
        self.busy_row.fetch_add(1, Relaxed) + 1
    }

    /// Others are preferred until then.
    pub fn set_busy_until(&self, until: Instant) {
        self.busy_until_ms.store(clock::millis(until), Relaxed);
    }

    /// Whether it asked to be left alone at `now`.
    #[must_use]
    pub fn is_busy(&self, now: Instant) -> bool {
        let until = self.busy_until_ms.load(Relaxed);
        until != 0 && clock::millis(now) < until
    }

    /// Faults since the last good answer.
    #[must_use]
    pub fn consecutive_faults(&self) -> u32 {
        self.consecutive_faults.load(Relaxed)
    }

    /// A byte of an answer came: it moves.
    pub fn moved(&self, now: Instant) {
        let at = clock::millis(now);
        self.last_move_ms.store(at, Relaxed);
        if self.answered_ms.load(Relaxed) == AWAITED {
            // Of two that came together either is the first.
            self.answered_ms.store(at, Relaxed);
        }
    }

    /// When a byte of any answer last came from it (see [`clock::millis`]); 0 for never.
    #[must_use]
    pub fn last_move_ms(&self) -> u64 {
        self.last_move_ms.load(Relaxed)
    }

    /// When real traffic last proved it healthy (see [`clock::millis`]); 0 for never.
    #[must_use]
    pub fn last_ok_ms(&self) -> u64 {
        self.last_ok_ms.load(Relaxed)
    }

    /// How many attempts ended with `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].load(Relaxed)
    }
}
