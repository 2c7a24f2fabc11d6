//! A service and the pool of replicas behind it.

use crate::account::Account;
use crate::health::{Gate, Health};
use crate::histogram::Histogram;
use crate::outcome::Outcome;
use crate::replica::Replica;
use crate::settings::{ServiceSettings, Tier};
use crate::slo::Counted;
use crate::standby::Level;
use arc_swap::ArcSwap;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What clients call: settings of one configuration, and the pool that outlives it.
#[derive(Debug)]
pub struct Service {
    /// Settings; replaced as a whole on reload.
    pub settings: ServiceSettings,
    /// Live part; the same across reloads for the same name.
    pub pool: Arc<Pool>,
}

/// The live part of a service.
#[derive(Debug)]
pub struct Pool {
    /// The service's name.
    pub name: Arc<str>,
    members: ArcSwap<Vec<Arc<Replica>>>,
    /// Requests that wait for a place.
    waiting: OnceLock<Arc<dyn Waiting>>,
    /// Wakes those who wait for several replicas at once: one became better, joined, or an
    /// attempt on one ended.
    pub better: Notify,
    /// Wakes requests that wait for a place in the retry budget.
    pub retry_freed: Notify,
    /// The 99th percentile of recent times to first byte, in microseconds, as the health
    /// authority last computed it; 0 before that.
    expected_us: AtomicU64,
    /// The same for the gap between two tokens of a stream.
    expected_gap_us: AtomicU64,
    /// When a second attempt beside a slow one pays, in microseconds; 0 for never.
    hedge_us: AtomicU64,
    /// The service that answers in its place, while one does.
    stand_in: watch::Sender<Option<Arc<str>>>,
    /// What its limits are held against.
    pub account: Arc<Account>,
    /// Counters.
    pub counts: Counts,
}

/// How streams went on elsewhere: names for [`Counts::resumed`].
pub const RESUMED: [&str; 3] = ["token_replay", "prefill", "regenerate"];
/// Requests that wait for a place on one of a pool's replicas. Whoever makes things better
/// tells them, without knowing how they wait.
pub trait Waiting: Any + Send + Sync + fmt::Debug {
    /// There may be places: lets as many as there are go on. Never waits.
    fn look(&self);
}

/// Why a request was refused before any replica saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No replica came in time.
    NoReplica,
    /// Too many wait.
    QueueFull,
    /// It would have waited for too long.
    Overloaded,
    /// It had waited for too long.
    Waited,
    /// It was beyond a limit: of its key, its tenant or the service.
    Limited,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NoReplica, Self::QueueFull, Self::Overloaded, Self::Waited, Self::Limited];

    /// Its name in metrics and views.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoReplica => "no_replica",
            Self::QueueFull => "queue_full",
            Self::Overloaded => "overloaded",
            Self::Waited => "waited",
            Self::Limited => "limited",
        }
    }
}

/// What a service did since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests under way.
    pub active: AtomicU32,
    /// … of which this process made by itself, for work that has time.
    pub internal: AtomicU32,
    /// Requests on hold for want of a replica.
    pub held: AtomicU32,
    /// Requests on hold for want of several replicas that they ask together.
    pub gathering: AtomicU32,
    /// Retries under way.
    pub retrying: AtomicU32,
    /// Requests by what the client got: how the last attempt ended.
    pub requests: [AtomicU64; Outcome::COUNT],
    /// Requests as they count towards what the service promises.
    pub slo: Counted,
    /// Attempts beyond each request's first, after soft evidence.
    pub retries: AtomicU64,
    /// Attempts beyond each request's first, after hard evidence.
    pub resends: AtomicU64,
    /// Second attempts raced because the first one's replica became suspect.
    pub raced: AtomicU64,
    /// Requests that waited for want of a replica.
    pub holds: AtomicU64,
    /// Requests refused by the gateway before any replica saw them, by tier and reason.
    refused: [[AtomicU64; Refused::ALL.len()]; 2],
    /// How long requests waited for a place that then got one.
    pub queue_wait: Histogram,
    /// 1 for each tier whose requests are refused rather than made to wait.
    overloaded: [AtomicBool; 2],
    /// Requests sent once, without a copy to replay.
    pub unreplayable: AtomicU64,
    /// Picks made in panic mode: nothing open, the least bad taken.
    pub panics: AtomicU64,
    /// Requests whose hash is quarantined.
    pub quarantined: AtomicU64,
    /// Tokens (server-sent events) relayed.
    pub events: AtomicU64,
    /// Streams that went on elsewhere, by how: token replay, prefill, regenerated.
    pub resumed: [AtomicU64; 3],
    /// Streams that broke and could not be carried on.
    pub broken_streams: AtomicU64,
    /// Second attempts begun for streams that had not broken: their replica was in doubt or
    /// silent.
    pub rescues: AtomicU64,
    /// Second attempts made because the first token was late.
    pub hedges: AtomicU64,
    /// What was done about its answers.
    pub answers: crate::answers::AnswerCounts,
    /// Time from sending a request for a stream to its first token.
    pub first_token: Histogram,
    /// Gap between two tokens of a stream, as replicas send them; one in a few is counted.
    pub gap: Histogram,
    /// Time from the request's head to the answer's head, as clients see it.
    pub first_byte: Histogram,
    /// Time from the request's head to the answer's end.
    pub total: Histogram,
    /// Time from when too few replicas took traffic to a promoted standby's first answer, by
    /// how far it was prepared.
    promotion: [Histogram; Level::ALL.len()],
}

impl Counts {
    /// How long promotions of standbys of this level took.
    #[must_use]
    pub fn promotion(&self, level: Level) -> &Histogram {
        &self.promotion[level as usize]
    }

    /// How many requests ended with `outcome`.
    #[must_use]
    pub fn requests(&self, outcome: Outcome) -> u64 {
        self.requests[outcome.index()].load(Relaxed)
    }

    /// A request of this tier was refused.
    pub fn refuse(&self, tier: Tier, why: Refused) {
        self.refused[tier as usize][why as usize].fetch_add(1, Relaxed);
    }

    /// How many requests of this tier were refused for this reason.
    #[must_use]
    pub fn refused(&self, tier: Tier, why: Refused) -> u64 {
        self.refused[tier as usize][why as usize].load(Relaxed)
    }

    /// How many requests were refused in all.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().flatten().map(|count| count.load(Relaxed)).sum()
    }

    /// How many requests were refused for want of a place: those beyond a limit say nothing
    /// of what the replicas have to do.
    #[must_use]
    pub fn refused_for_room(&self) -> u64 {
        let limited = Tier::ALL.map(|tier| self.refused(tier, Refused::Limited));
        self.refused_in_all().saturating_sub(limited.iter().sum())
    }

    /// Requests of this tier are refused rather than made to wait, or no longer.
    pub fn set_overloaded(&self, tier: Tier, is: bool) {
        self.overloaded[tier as usize].store(is, Relaxed);
    }

    /// Whether requests of this tier are refused rather than made to wait.
    #[must_use]
    pub fn is_overloaded(&self, tier: Tier) -> bool {
        self.overloaded[tier as usize].load(Relaxed)
    }
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(name: Arc<str>) -> Self {
        Self {
            account: Arc::new(Account::new(&name)),
            name,
            members: ArcSwap::from_pointee(Vec::new()),
            waiting: OnceLock::new(),
            better: Notify::new(),
            retry_freed: Notify::new(),
            expected_us: AtomicU64::new(0),
            expected_gap_us: AtomicU64::new(0),
            hedge_us: AtomicU64::new(0),
            stand_in: watch::Sender::new(None),
            counts: Counts::default(),
        }
    }

    /// The replicas right now.
    #[must_use]
    pub fn members(&self) -> arc_swap::Guard<Arc<Vec<Arc<Replica>>>> {
        self.members.load()
    }

    /// Replaces the replicas, and lets waiting requests look again.
    pub fn set_members(&self, members: Vec<Arc<Replica>>) {
        self.members.store(Arc::new(members));
        self.improved();
    }

    /// A replica became better, got room, or joined: those who wait look again.
    pub fn improved(&self) {
        self.better.notify_waiters();
        if let Some(waiting) = self.waiting.get() {
            waiting.look();
        }
    }

    /// Those who wait for a place; made once, and the same for as long as the pool lives.
    pub fn waiting(&self, make: impl FnOnce() -> Arc<dyn Waiting>) -> &Arc<dyn Waiting> {
        self.waiting.get_or_init(make)
    }

    /// How long a first byte normally takes at most (99th percentile), once known.
    #[must_use]
    pub fn expected_first_byte(&self) -> Option<Duration> {
        match self.expected_us.load(Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Sets what [`Pool::expected_first_byte`] gives. For the health authority only.
    pub fn set_expected_first_byte(&self, expected: Duration) {
        let us = u64::try_from(expected.as_micros()).unwrap_or(u64::MAX);
        self.expected_us.store(us, Relaxed);
    }

    /// How long the gap between two tokens normally is at most (99th percentile), once known.
    #[must_use]
    pub fn expected_gap(&self) -> Option<Duration> {
        match self.expected_gap_us.load(Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Sets what [`Pool::expected_gap`] gives. For the health authority only.
    pub fn set_expected_gap(&self, expected: Duration) {
        let us = u64::try_from(expected.as_micros()).unwrap_or(u64::MAX);
        self.expected_gap_us.store(us, Relaxed);
    }

    /// After which wait for a first token another replica is asked, too; `None` for never.
    #[must_use]
    pub fn hedge_after(&self) -> Option<Duration> {
        match self.hedge_us.load(Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Sets what [`Pool::hedge_after`] gives. For the health authority only.
    pub fn set_hedge_after(&self, after: Option<Duration>) {
        let us = after.map_or(0, |a| u64::try_from(a.as_micros()).unwrap_or(u64::MAX));
        self.hedge_us.store(us, Relaxed);
    }

    /// The service that answers in its place, while one does.
    #[must_use]
    pub fn stand_in(&self) -> Option<Arc<str>> {
        self.stand_in.borrow().clone()
    }

    /// Has another service answer in its place, or nobody any more; gives whether that is
    /// new. For recovery only.
    pub fn set_stand_in(&self, service: Option<&str>) -> bool {
        self.stand_in.send_if_modified(|now| {
            let changes = now.as_deref() != service;
            if changes {
                *now = service.map(Arc::from);
            }
            changes
        })
    }

    /// Returns once another service answers in its place.
    pub async fn stood_in(&self) {
        // The sender is its own: it cannot go before.
        let _ = self.stand_in.subscribe().wait_for(Option::is_some).await;
    }

    /// How many replicas take traffic: those on duty, or else standbys in their place.
    #[must_use]
    pub fn open(&self) -> usize {
        let members = self.members();
        let with = |gate| members.iter().filter(|r| r.live.gate() == gate).count();
        match with(Gate::Open) {
            0 => with(Gate::Reserve),
            open => open,
        }
    }

    /// How many replicas are meant to serve: all on duty but drained
    /// and stopped ones.
    #[must_use]
    pub fn expected(&self) -> usize {
        let out = |h| matches!(h, Health::Draining | Health::Stopped);
        self.members().iter().filter(|r| r.live.duty().is_on() && !out(r.live.health())).count()
    }
}
