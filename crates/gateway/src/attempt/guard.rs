//! What counts an attempt on its replica, exactly once.
//!
//! It settles when told to, or as `Cancelled` when dropped: a client that leaves drops the
//! whole tree, the request's guard ([`RequestGuard`]) included.

pub(crate) use super::request::{LogLine, RequestGuard};
use crate::admit::concurrency::Work;
use crate::trace::{AttemptTrace, RequestTrace};
use crate::worker::Worker;
use evenkeel_domain::conduct::GAPS;
use evenkeel_domain::replica::name_hash;
use evenkeel_domain::{Incarnation, Outcome, Replica, SignalKind, clock};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a busy replica is passed over when it does not say.
const BUSY: Duration = Duration::from_millis(250);
/// … and at most, whatever it says: it may be free sooner.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Characters of a model's name that are told.
const NAME_SHOWN: usize = 200;

/// One attempt under way on a replica.
pub(crate) struct AttemptGuard {
    worker: Rc<Worker>,
    /// Shared by reference count within the worker: an `Arc` would cost a bounce of its
    /// cache line between cores.
    request: Rc<RequestGuard>,
    replica: Arc<Replica>,
    incarnation: Incarnation,
    started: Instant,
    settled: bool,
    /// The request may be a query of death and is counted as such.
    apart: bool,
    /// The answer has begun.
    begun: Cell<bool>,
    /// Set by the exchange when it gives the attempt up for a reason of its own; `Cancelled`
    /// when a younger attempt elsewhere was faster.
    abandoned: Rc<Cell<Option<Outcome>>>,
    trace: Option<AttemptTrace>,
}

impl AttemptGuard {
    /// Counts an attempt in, where the replica has room for it; what has time (`aside`)
    /// leaves the last places to others.
    pub(crate) fn try_enter(
        worker: &Rc<Worker>,
        request: &Rc<RequestGuard>,
        replica: &Arc<Replica>,
        started: Instant,
        apart: bool,
        aside: bool,
    ) -> Option<Self> {
        let entered = if aside { replica.try_enter_aside() } else { replica.try_enter() };
        entered.then(|| Self::entered(worker, request, replica.clone(), started, apart))
    }

    /// For an attempt that the replica has counted in.
    fn entered(
        worker: &Rc<Worker>,
        request: &Rc<RequestGuard>,
        replica: Arc<Replica>,
        started: Instant,
        apart: bool,
    ) -> Self {
        replica.live.room.asked();
        if apart {
            replica.live.enter_suspect();
        }
        let incarnation = replica.live.incarnation();
        Self {
            worker: worker.clone(),
            request: request.clone(),
            replica,
            incarnation,
            started,
            settled: false,
            apart,
            begun: Cell::new(false),
            abandoned: Rc::default(),
            trace: None,
        }
    }

    /// The same, recorded where the request is.
    pub(crate) fn traced(mut self, request: Option<&Rc<RequestTrace>>) -> Self {
        self.trace = request.map(|r| r.attempt(&self.replica, self.started));
        self
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The cell through which the exchange says why it drops this attempt.
    pub(crate) fn abandon_cell(&self) -> Rc<Cell<Option<Outcome>>> {
        self.abandoned.clone()
    }

    /// The first good byte is here.
    pub(crate) fn first_byte(&self) {
        let now = clock::now();
        let took = now.saturating_duration_since(self.started);
        let live = &self.replica.live;
        live.moved(now);
        live.record_first_byte(took);
        self.begun();
        if let Some(class) = self.request.work().class() {
            let us = micros(took);
            live.room.record(clock::millis(self.started), class, us, us);
            live.conduct.took(class, took);
        }
        if let Some(size) = self.request.work().size() {
            live.conduct.answered(size, self.started);
        }
    }

    /// A token came so long after the one before it.
    pub(crate) fn gap(&self, gap: Duration) {
        self.replica.live.conduct.took(GAPS, gap);
    }

    /// The answer says that this model gave it; `asked` is a hash of what was asked for.
    pub(crate) fn named(&self, asked: u64, said: &str) {
        if asked == 0 || !self.replica.live.conduct.named(asked, name_hash(said)) {
            return;
        }
        let said = said.chars().take(NAME_SHOWN).collect::<String>().into();
        self.worker.shared.signal(&self.replica, SignalKind::Named { asked, said }, clock::now());
    }

    /// The answer is whole and has nothing in it. Whether that is the first such answer to its
    /// request.
    pub(crate) fn hollow(&self) -> bool {
        !self.request.hollow.replace(true)
    }

    /// The answer has begun, at a time that says nothing of the replica.
    pub(crate) fn begun(&self) {
        if !self.begun.replace(true) {
            self.replica.live.room.answered();
        }
    }

    /// The answer is here whole, with so many tokens that were generated for it.
    pub(crate) fn generated(&self, tokens: u64) {
        if let Work::Generated(_) = self.request.work() {
            let took = clock::now().saturating_duration_since(self.started);
            let us = micros(took);
            let (class, comparable) = Work::generated(tokens, us);
            let live = &self.replica.live;
            live.room.record(clock::millis(self.started), class, comparable, us);
            live.conduct.took(class, Duration::from_micros(comparable));
        }
    }

    /// The first token of a stream is here.
    pub(crate) fn first_token(&self) {
        let took = clock::now().saturating_duration_since(self.started);
        self.request.pool().counts.first_token.record(took);
        self.first_byte();
    }

    /// The answer got longer.
    pub(crate) fn moved(&self) {
        self.begun();
        self.replica.live.moved(clock::now());
    }

    /// Another attempt of the same errand on the same replica.
    pub(crate) fn again(&self) -> Self {
        let now = clock::now();
        // The one that goes on has the place; for a moment both are counted.
        self.replica.live.enter();
        let mut guard =
            Self::entered(&self.worker, &self.request, self.replica.clone(), now, self.apart);
        guard.abandoned = self.abandoned.clone();
        guard
    }

    /// The replica asked to be left alone.
    pub(crate) fn busy_for(&self, asked: Option<Duration>) {
        // Each "busy" in a row doubles the pause: many requests may have been on their way
        // to it before the first one came back.
        let row = self.replica.live.said_busy().min(5);
        let time = asked.unwrap_or(BUSY * (1 << (row - 1))).min(BUSY_MAX);
        self.replica.live.set_busy_until(clock::now() + time);
    }

    /// The attempt ended so.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Some(trace) = self.trace.take() {
            trace.settle(outcome);
        }
        self.begun();
        // What a dead incarnation still says never counts against its successor.
        let same = self.incarnation == self.replica.live.incarnation();
        if let Some(size) = self.request.work().size().filter(|_| same)
            && (outcome == Outcome::Ok || outcome.blames_replica())
            && !outcome.is_silence()
        {
            self.replica.live.conduct.ended(size, outcome == Outcome::Ok);
        }
        self.replica.live.leave();
        if self.apart {
            self.replica.live.leave_suspect();
        }
        let now = clock::now();
        if same {
            self.worker.shared.settle_attempt(&self.replica, outcome, now);
        }
        let queue = &self.request.entry.queue;
        if outcome == Outcome::Ok {
            queue.took(now.saturating_duration_since(self.started));
        }
        queue.left();
        self.request.pool().better.notify_waiters();
    }
}

impl AttemptGuard {
    /// A younger attempt elsewhere was answered first: what this one waited is the least that
    /// it would have taken.
    fn overtaken(&self) {
        if self.begun.get() {
            return;
        }
        let live = &self.replica.live;
        if let Work::Stream(class) = self.request.work() {
            live.conduct.took(class, clock::now().saturating_duration_since(self.started));
        }
        if let Some(size) = self.request.work().size() {
            live.conduct.late(size, self.started);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let abandoned = self.abandoned.take();
        if abandoned == Some(Outcome::Cancelled) && !self.settled {
            self.overtaken();
        }
        self.end(abandoned.unwrap_or(Outcome::Cancelled));
    }
}
