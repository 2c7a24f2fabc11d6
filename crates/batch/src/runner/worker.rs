//! The work of whoever holds the lease: one loop that owns everything, so that nothing is
//! shared and nothing is locked. What takes time runs beside it and reports back.

use super::chore::{self, Chore, Finding};
use super::line::{self, Unsent};
use super::{Counters, Signals, millis, tell_once};
use crate::answer::Outcome;
use crate::http::Parts;
use crate::plan::{Patience, Progress};
use crate::validate::Place;
use evenkeel_domain::durable::{Answer, Batch, BatchId, Fence, Owner, StoreError};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant};

/// How often the store is asked what there is to do. This process's own API says so by
/// itself; this is for what other processes take in.
const POLL: Duration = Duration::from_secs(2);
/// How often is cleaned up …
const SWEEP: Duration = Duration::from_secs(60);
/// … and how soon again while there is more.
const SWEEP_ON: Duration = Duration::from_millis(50);
/// The lease is kept so many times within its time.
const RENEWALS: u32 = 3;
/// Pauses after the store could not do something: first and longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Another holds the lease.
    Lost,
    /// It was asked to stop.
    Stopped,
    /// A part of it panicked. It can begin anew.
    Broken,
}

impl From<JoinError> for Left {
    fn from(error: JoinError) -> Self {
        tracing::error!(%error, "batch work broke and begins anew");
        Self::Broken
    }
}

/// A batch whose lines are being sent.
pub(super) struct Active {
    pub(super) owner: Owner,
    pub(super) path: Arc<str>,
    pub(super) batch: Arc<Batch>,
    pub(super) places: Arc<[Place]>,
    pub(super) progress: Progress,
    pub(super) ending: bool,
    pub(super) halt: watch::Sender<bool>,
}

pub(super) type Kept = Vec<(BatchId, Answer)>;

/// What runs beside the loop and is about no batch.
pub(super) enum Errand {
    Renewed(Result<(), StoreError>),
    Swept(Result<bool, StoreError>),
}

pub(super) struct Work {
    pub(super) parts: Parts,
    pub(super) fence: Fence,
    pub(super) signals: Signals,
    pub(super) counters: Arc<Counters>,
    pub(super) rng: fastrand::Rng,
    /// Batches that have not ended, oldest first, as last seen.
    pub(super) open: Vec<Arc<Batch>>,
    pub(super) active: BTreeMap<BatchId, Active>,
    pub(super) turns: VecDeque<BatchId>,
    /// Batches that a chore is at.
    pub(super) at_work: HashMap<BatchId, Chore>,
    /// Batches whose last chore failed: not before then.
    pub(super) held: HashMap<BatchId, Instant>,
    pub(super) lines: JoinSet<line::Ended>,
    pub(super) chores: JoinSet<chore::Ended>,
    pub(super) errands: JoinSet<Errand>,
    /// Answers that wait to be kept.
    pub(super) waiting: Kept,
    pub(super) commits: JoinSet<(Kept, Result<u32, StoreError>)>,
    /// Nothing is kept or sent before then: the store could not do it.
    pub(super) paused_until: Option<Instant>,
    pauses: u32,
    told: Option<StoreError>,
    pub(super) sweep_at: Instant,
    pub(super) renew_at: Instant,
    pub(super) look_at: Instant,
}

impl Work {
    pub(super) fn new(
        parts: Parts,
        fence: Fence,
        signals: Signals,
        counters: Arc<Counters>,
        seed: u64,
    ) -> Self {
        let now = Instant::now();
        let renew = parts.settings.lease / RENEWALS;
        Self {
            parts,
            fence,
            signals,
            counters,
            rng: evenkeel_domain::rng::seeded(seed),
            open: Vec::new(),
            active: BTreeMap::new(),
            turns: VecDeque::new(),
            at_work: HashMap::new(),
            held: HashMap::new(),
            lines: JoinSet::new(),
            chores: JoinSet::new(),
            errands: JoinSet::new(),
            waiting: Vec::new(),
            commits: JoinSet::new(),
            paused_until: None,
            pauses: 0,
            told: None,
            sweep_at: now,
            renew_at: now + renew,
            look_at: now,
        }
    }

    pub(super) async fn run(mut self) -> Left {
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(left) => {
                    self.counters.under_way.store(0, Ordering::Relaxed);
                    self.counters.active.store(0, Ordering::Relaxed);
                    return left;
                }
            }
        }
    }

    /// Does what can be done now, then waits for something to happen.
    async fn turn(&mut self) -> Result<(), Left> {
        let now = Instant::now();
        if self.look_at <= now {
            self.look().await?;
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        if self.renew_at <= now {
            self.renew(now);
        }
        let stop = *self.signals.stop.borrow();
        let late = stop.is_some_and(|at| at <= now);
        match stop {
            Some(_) if late => self.halt_all(),
            Some(_) => {}
            None => {
                self.plan(now);
                self.send(now);
                self.sweep(now);
            }
        }
        self.keep();
        self.count();
        if stop.is_some() && self.is_quiet(late) {
            return Err(Left::Stopped);
        }
        self.wait(self.next_time(now, stop)).await
    }

    /// Whether nothing is left to wait for. When it is `late`, answers that the store does
    /// not take are left to whoever comes next.
    fn is_quiet(&self, late: bool) -> bool {
        let kept = self.waiting.is_empty() && self.commits.is_empty();
        self.lines.is_empty() && (kept || (late && self.paused_until.is_some()))
    }

    async fn wait(&mut self, next: Instant) -> Result<(), Left> {
        let wake = self.parts.wake.clone();
        tokio::select! {
            Some(ended) = self.lines.join_next() => self.line_ended(ended?),
            Some(done) = self.commits.join_next() => self.committed(done?)?,
            Some(ended) = self.chores.join_next() => self.chore_ended(ended?)?,
            Some(done) = self.errands.join_next() => self.errand_done(done?)?,
            () = wake.notified() => self.look_again(),
            () = time::sleep_until(next) => {}
            Ok(()) = self.signals.limit.changed() => {}
            Ok(()) = self.signals.busy.changed() => {}
            Ok(()) = self.signals.stop.changed() => {}
        }
        Ok(())
    }

    /// Looks what there is to do.
    async fn look(&mut self) -> Result<(), Left> {
        self.look_at = Instant::now() + POLL;
        match self.parts.store.open_batches().await {
            Ok(open) => self.open = open.into_iter().map(Arc::new).collect(),
            Err(error) => return self.pause(error),
        }
        let open: HashMap<&BatchId, &Arc<Batch>> = self.open.iter().map(|b| (&b.id, b)).collect();
        self.active.retain(|id, active| match open.get(id) {
            Some(batch) => {
                active.batch = (*batch).clone();
                true
            }
            None => false,
        });
        self.turns.retain(|id| self.active.contains_key(id));
        self.held.retain(|id, _| open.contains_key(id));
        Ok(())
    }

    pub(super) fn look_again(&mut self) {
        self.look_at = Instant::now();
    }

    fn line_ended(&mut self, ended: line::Ended) {
        let now = Instant::now();
        let line::Ended { batch: id, index, result } = ended;
        let jitter = self.rng.f64();
        let Some(active) = self.active.get_mut(&id) else { return };
        match result {
            Ok(Outcome::Answered(answer)) => self.waiting.push((id, answer)),
            Ok(Outcome::Later(after)) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                active.progress.refused(index, after, now, jitter);
            }
            Ok(Outcome::Fault(answer)) => {
                if active.progress.faulted(index, now) {
                    self.counters.faulted.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.waiting.push((id, answer));
                }
            }
            Err(Unsent::Halted) => active.progress.put_back(index),
            Err(Unsent::Store(error)) => {
                active.progress.put_back(index);
                // Reading needs no lease: it cannot be lost here.
                let _ = self.pause(error);
            }
        }
    }

    fn committed(&mut self, (kept, result): (Kept, Result<u32, StoreError>)) -> Result<(), Left> {
        let limit = *self.signals.limit.borrow();
        match result {
            Ok(new) => {
                self.counters.answered.fetch_add(new.into(), Ordering::Relaxed);
                let failed = kept.iter().filter(|(_, answer)| !answer.result.is_good()).count();
                self.counters.failed.fetch_add(failed as u64, Ordering::Relaxed);
                self.pauses = 0;
                self.told = None;
                for (id, answer) in kept {
                    if let Some(active) = self.active.get_mut(&id) {
                        active.progress.answered(answer.index, limit);
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.waiting.splice(0..0, kept);
                self.pause(error)
            }
        }
    }

    fn chore_ended(&mut self, ended: chore::Ended) -> Result<(), Left> {
        let chore::Ended { batch: id, result } = ended;
        self.at_work.remove(&id);
        match result {
            Ok(Finding::Changed) => self.look_again(),
            Ok(Finding::Loaded(places, answered)) => self.activate(id, places, &answered),
            Err(error) => {
                self.look_again();
                // Cancelled meanwhile, most likely. What it is else is found out by looking;
                // the hold keeps a batch that cannot go on from being tried all the time.
                let expected = matches!(error, StoreError::Conflict { .. });
                let hold = if expected { PAUSE } else { PAUSE_MAX };
                self.held.insert(id.clone(), Instant::now() + hold);
                if error == StoreError::Fenced {
                    return Err(Left::Lost);
                }
                if !expected {
                    tracing::warn!(batch = id.as_str(), %error, "a batch does not go on");
                }
            }
        }
        Ok(())
    }

    fn activate(&mut self, id: BatchId, places: Vec<Place>, answered: &[u32]) {
        let Some(batch) = self.open.iter().find(|batch| batch.id == id) else { return };
        let settings = &self.parts.settings;
        let patience = Patience {
            attempts: settings.attempts,
            backoff: settings.backoff,
            backoff_max: settings.backoff_max,
        };
        let window = u32::try_from(*self.signals.limit.borrow()).unwrap_or(u32::MAX);
        let active = Active {
            owner: batch.order.owner.clone(),
            path: batch.order.endpoint.as_str().into(),
            batch: batch.clone(),
            progress: Progress::new(places.len(), answered, window, patience),
            places: places.into(),
            ending: false,
            halt: watch::Sender::new(false),
        };
        self.turns.push_back(id.clone());
        self.active.insert(id, active);
    }

    fn errand_done(&mut self, errand: Errand) -> Result<(), Left> {
        match errand {
            Errand::Renewed(Ok(())) => Ok(()),
            Errand::Swept(Ok(more)) => {
                let pause = if more { SWEEP_ON } else { SWEEP };
                self.sweep_at = Instant::now() + pause;
                Ok(())
            }
            Errand::Renewed(Err(error)) | Errand::Swept(Err(error)) => {
                self.sweep_at = Instant::now() + SWEEP;
                self.pause(error)
            }
        }
    }

    /// Leaves the store alone for a while, longer each time.
    fn pause(&mut self, error: StoreError) -> Result<(), Left> {
        if error == StoreError::Fenced {
            return Err(Left::Lost);
        }
        tell_once(&mut self.told, error);
        let pause = PAUSE.saturating_mul(1 << self.pauses.min(16)).min(PAUSE_MAX);
        self.pauses += 1;
        self.paused_until = Some(Instant::now() + pause);
        Ok(())
    }

    fn renew(&mut self, now: Instant) {
        let ttl = self.parts.settings.lease;
        self.renew_at = now + ttl / RENEWALS;
        let (parts, fence) = (self.parts.clone(), self.fence.clone());
        self.errands.spawn(async move {
            Errand::Renewed(parts.store.renew(&fence, millis(ttl), parts.now()).await)
        });
    }

    /// Gives up every line that is under way.
    fn halt_all(&mut self) {
        for active in self.active.values() {
            active.halt.send_replace(true);
        }
    }
}
