//! What counts a request on its service, exactly once: when told how it ended, or as
//! `Cancelled` when dropped.

use crate::admit::concurrency::Work;
use crate::admit::limit::{Bill, Ended};
use crate::route::Entry;
use crate::trace::RequestTrace;
use crate::usage::Usage;
use evenkeel_domain::slo::{self, Circumstances};
use evenkeel_domain::{Outcome, Pool, Replica, clock};
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// One request under way on a service.
pub(crate) struct RequestGuard {
    pub(super) entry: Arc<Entry>,
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
    /// The caller gave a deadline that is shorter than the service's.
    own_deadline: Cell<bool>,
    /// After which time the answer began.
    began: Cell<Option<Duration>>,
    /// A replica gave it an answer with nothing in it.
    pub(super) hollow: Cell<bool>,
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
            own_deadline: Cell::new(false),
            began: Cell::new(None),
            hollow: Cell::new(false),
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

    /// Its caller gave it so long; no longer than the service itself would.
    pub(crate) fn may_take(&self, own: Duration) {
        let shorter = own < self.entry.service.settings.deadlines.total;
        self.own_deadline.set(shorter);
        if let Some(aside) = &self.aside {
            aside.of.own_deadline.set(shorter);
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
            own_deadline: Cell::new(false),
            began: Cell::new(None),
            hollow: Cell::new(false),
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

    pub(super) fn pool(&self) -> &Pool {
        &self.entry.service.pool
    }

    /// The head of the client's answer is known.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(status.as_u16());
        if self.aside.is_some() {
            return;
        }
        let took = self.elapsed();
        self.began.set(Some(took));
        self.pool().counts.first_byte.record(took);
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

    /// Counts it towards what the service promises.
    fn account(&self, outcome: Outcome) {
        let own_deadline = self.own_deadline.get();
        let so = Circumstances {
            internal: self.internal.get(),
            own_deadline,
            open: own_deadline && self.pool().open() > 0,
        };
        let within = self.entry.service.settings.slo.latency;
        self.pool().counts.slo.count(slo::verdict(outcome, so), self.began.get(), within);
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
        self.account(outcome);
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
