//! Who counts what, exactly once: an attempt on its replica, a request on its service.
//!
//! Both settle when told to, or as `Cancelled` when dropped: a client that leaves drops
//! the whole tree.

use crate::admit::concurrency::Work;
use crate::admit::limit::{Bill, Ended};
use crate::route::Entry;
use crate::trace::{AttemptTrace, RequestTrace};
use crate::usage::Usage;
use crate::worker::Worker;
use evenkeel_domain::{Incarnation, Outcome, Pool, Replica, clock};
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a busy replica is passed over when it does not say.
const BUSY: Duration = Duration::from_millis(250);
/// … and at most, whatever it says: it may be free sooner.
const BUSY_MAX: Duration = Duration::from_secs(5);

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
    /// Set by the exchange when it gives the attempt up for a reason of its own.
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
        self.replica.live.moved(now);
        self.replica.live.record_first_byte(took);
        self.begun();
        if let Some(class) = self.request.work.class() {
            let us = micros(took);
            self.replica.live.room.record(clock::millis(self.started), class, us, us);
        }
    }

    /// The answer has begun, at a time that says nothing of the replica.
    pub(crate) fn begun(&self) {
        if !self.begun.replace(true) {
            self.replica.live.room.answered();
        }
    }

    /// The answer is here whole, with so many tokens that were generated for it.
    pub(crate) fn generated(&self, tokens: u64) {
        if self.request.work == Work::Generated {
            let took = clock::now().saturating_duration_since(self.started);
            let us = micros(took);
            let (class, comparable) = Work::generated(tokens, us);
            self.replica.live.room.record(clock::millis(self.started), class, comparable, us);
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
        self.replica.live.leave();
        if self.apart {
            self.replica.live.leave_suspect();
        }
        let now = clock::now();
        // What a dead incarnation still says never counts against its successor.
        if self.incarnation == self.replica.live.incarnation() {
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let outcome = self.abandoned.take().unwrap_or(Outcome::Cancelled);
        self.end(outcome);
    }
}

/// One request under way on a service.
pub(crate) struct RequestGuard {
    entry: Arc<Entry>,
    work: Work,
    started: Instant,
    ended: Cell<Option<Outcome>>,
    attempts: Cell<u32>,
    reason: Cell<Option<&'static str>>,
    /// A part of another request, which is counted in its place.
    aside: Option<Aside>,
    status: Cell<u16>,
    log: Option<LogLine>,
    trace: Option<Rc<RequestTrace>>,
    events: Cell<u64>,
    internal: Cell<bool>,
    /// What it owes to limits, and whether its end is the bill's.
    bill: Option<Rc<Bill>>,
    pays: bool,
}

/// What a part of a request knows beside the counts, which are its whole's.
struct Aside {
    of: Rc<RequestGuard>,
    /// Who gave the answer.
    answerer: RefCell<Option<Arc<Replica>>>,
}

/// What the access log says of a request, gathered on the way.
pub(crate) struct LogLine {
    pub(crate) log: crate::access_log::AccessLog,
    pub(crate) id: http::HeaderValue,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) client: std::net::IpAddr,
    pub(crate) attempts: Cell<u32>,
}

impl RequestGuard {
    /// Counts a request in.
    pub(crate) fn enter(
        entry: Arc<Entry>,
        work: Work,
        started: Instant,
        log: Option<LogLine>,
        trace: Option<Rc<RequestTrace>>,
    ) -> Self {
        let pool = &entry.service.pool;
        pool.counts.active.fetch_add(1, Relaxed);
        if let Some(trace) = &trace {
            trace.service(&pool.name);
        }
        Self {
            entry,
            work,
            started,
            ended: Cell::new(None),
            attempts: Cell::new(0),
            reason: Cell::new(None),
            aside: None,
            status: Cell::new(0),
            log,
            trace,
            events: Cell::new(0),
            internal: Cell::new(false),
            bill: None,
            pays: false,
        }
    }

    /// The bill is settled when it ends.
    pub(crate) fn billed(mut self, bill: Option<Rc<Bill>>) -> Self {
        (self.bill, self.pays) = (bill, true);
        self
    }

    /// What it takes counts on another request's bill.
    pub(crate) fn on_bill_of(mut self, other: &Self) -> Self {
        self.bill.clone_from(&other.bill);
        self
    }

    /// An answer to it says what it took.
    pub(crate) fn used(&self, usage: Usage) {
        if let Some(bill) = &self.bill {
            bill.told(usage);
        }
    }

    /// It is this process' own.
    pub(crate) fn is_internal(&self) {
        if !self.internal.replace(true) {
            self.pool().counts.internal.fetch_add(1, Relaxed);
        }
    }

    /// A part of `of`: asks for it, and is counted as it.
    pub(crate) fn part_of(of: &Rc<Self>) -> Self {
        Self {
            entry: of.entry.clone(),
            work: of.work,
            started: of.started,
            ended: Cell::new(None),
            attempts: Cell::new(0),
            reason: Cell::new(None),
            aside: Some(Aside { of: of.clone(), answerer: RefCell::default() }),
            status: Cell::new(0),
            internal: Cell::new(false),
            log: None,
            trace: None,
            events: Cell::new(0),
            bill: of.bill.clone(),
            pays: false,
        }
    }

    /// Attempts made for it, those of its parts included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// So many were made for it elsewhere.
    pub(crate) fn attempts_made(&self, more: u32) {
        self.attempts.set(self.attempts.get() + more);
        if let Some(line) = &self.log {
            line.attempts.set(line.attempts.get() + more);
        }
    }

    /// Why more than one attempt was made: the last reason.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason.get()
    }

    /// One more attempt is made for this reason.
    pub(crate) fn because(&self, reason: &'static str) {
        self.reason.set(Some(reason));
        if let Some(aside) = &self.aside {
            aside.of.because(reason);
        }
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&self) -> Option<Outcome> {
        self.ended.get()
    }

    /// This replica's answer was committed.
    pub(crate) fn answered_by(&self, replica: &Arc<Replica>) {
        if let Some(aside) = &self.aside {
            *aside.answerer.borrow_mut() = Some(replica.clone());
        }
    }

    /// Who gave the answer of a part, once it was committed.
    pub(crate) fn answerer(&self) -> Option<Arc<Replica>> {
        self.aside.as_ref()?.answerer.borrow().clone()
    }

    /// What it asks for.
    pub(crate) fn work(&self) -> Work {
        self.work
    }

    fn pool(&self) -> &Pool {
        &self.entry.service.pool
    }

    /// The head of the client's answer is known.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(status.as_u16());
        if self.aside.is_some() {
            return;
        }
        self.pool().counts.first_byte.record(self.elapsed());
    }

    /// One more piece of the answer was relayed.
    pub(crate) fn relayed(&self) {
        self.events.set(self.events.get() + 1);
        if let Some(bill) = &self.bill {
            bill.relayed();
        }
    }

    pub(crate) fn attempt_made(&self) {
        self.attempts.set(self.attempts.get() + 1);
        if let Some(line) = &self.log {
            line.attempts.set(line.attempts.get() + 1);
        }
        if let Some(aside) = &self.aside {
            aside.of.attempt_made();
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    /// The request ended so.
    pub(crate) fn settle(&self, outcome: Outcome) {
        if self.ended.get().is_some() {
            return;
        }
        self.ended.set(Some(outcome));
        let counts = &self.pool().counts;
        if self.aside.is_some() {
            if self.events.get() > 0 {
                counts.events.fetch_add(self.events.get(), Relaxed);
            }
            return;
        }
        if let Some(bill) = self.bill.as_ref().filter(|_| self.pays) {
            bill.settle(Ended { outcome, attempts: self.attempts.get() }, clock::now());
        }
        let took = self.elapsed();
        counts.active.fetch_sub(1, Relaxed);
        if self.internal.get() {
            counts.internal.fetch_sub(1, Relaxed);
        }
        counts.requests[outcome.index()].fetch_add(1, Relaxed);
        counts.total.record(took);
        if self.events.get() > 0 {
            counts.events.fetch_add(self.events.get(), Relaxed);
        }
        if let Some(trace) = &self.trace {
            trace.settle(outcome);
        }
        if let Some(line) = &self.log {
            line.log.write(line, &self.pool().name, self.status.get(), outcome, took);
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled);
    }
}
