//! One request from pick to commit: attempts, one after the other or raced, until one may
//! go to the client.
//!
//! ```text
//!      ┌────────── hold (nobody can take it) ◄─┐
//!      ▼                                       │
//!    pick ─► attempt ──commit──► client        │
//!              │  │                            │
//!              │  └─ replica suspect: race one elsewhere
//!              ▼                               │
//!           failed ─► may it be repeated? ─ yes ─► back-off, budget ─┘
//! ```

mod death;
mod hold;
mod onward;
mod pick;
mod race;
mod retry;

use crate::attempt::guard::RequestGuard;
use crate::attempt::{End, Failed, Opened};
use crate::body::OutBody;
use crate::error::Refusal;
use crate::quorum::panel::Panel;
use crate::resume::carry::Carried;
use crate::resume::unary;
use crate::route::Entry;
use crate::template::Template;
use crate::worker::Worker;
use death::Deaths;
use evenkeel_domain::settings::Tier;
use evenkeel_domain::{Outcome, Pool, clock};
use http::Response;
pub(crate) use onward::Cause;
use onward::Onward;
pub(crate) use pick::pick_any;
use retry::RetryPermit;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What a request is known by, besides what is sent.
#[derive(Clone)]
pub(crate) struct Asker {
    /// Hash of the client's address.
    pub(crate) source: u64,
    /// Hash of the balance key, when the policy wants one.
    pub(crate) key: u64,
    /// How important the request is.
    pub(crate) tier: Tier,
    /// Whether it may wait for a replica. What has time asks again later instead: places on
    /// hold are for people, and what is told of them should be true of people.
    pub(crate) waits: bool,
    /// Whose requests wait for each other rather than for those of others.
    pub(crate) flow: u64,
    /// What it asks for, in tokens.
    pub(crate) cost: u64,
    /// The caller's own deadline, when it gave one: running out of it is not our fault.
    pub(crate) own_deadline: Option<Duration>,
}

/// One request under way.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    entry: Arc<Entry>,
    template: Rc<Template>,
    request: Rc<RequestGuard>,
    asker: Asker,
    /// Replicas this request was sent to, by key.
    tried: RefCell<SmallVec<[u64; 4]>>,
    attempts: Cell<u32>,
    soft_failures: u32,
    /// How often every replica had been tried and the round began anew.
    rounds: u32,
    deaths: Deaths,
    held_for: Duration,
    permit: Option<RetryPermit>,
    /// The answer to go on with, once it has broken.
    onward: Option<Onward>,
    /// One voice of several: no two ask the same replica.
    panel: Option<Rc<Panel>>,
}

impl Exchange {
    pub(crate) fn new(
        worker: Rc<Worker>,
        entry: Arc<Entry>,
        template: Rc<Template>,
        request: Rc<RequestGuard>,
        asker: Asker,
    ) -> Self {
        Self {
            worker,
            entry,
            template,
            request,
            asker,
            tried: RefCell::default(),
            attempts: Cell::new(0),
            soft_failures: 0,
            rounds: 0,
            deaths: Deaths::default(),
            held_for: Duration::ZERO,
            permit: None,
            onward: None,
            panel: None,
        }
    }

    /// The same as one voice of a panel.
    pub(crate) fn on_panel(mut self, panel: Rc<Panel>) -> Self {
        self.panel = Some(panel);
        self
    }

    /// Runs the request until an answer may go to the client.
    pub(crate) async fn run(mut self) -> Result<Given, Refusal> {
        self.deaths.admit(&self.worker, &self.template)?;
        match self.attempt_until_commit().await? {
            Ran::Given(given) => Ok(given),
            Ran::Stream(opened) => {
                let unary = self.template.watch.as_ref().is_some_and(|w| w.ask.unary);
                let (worker, request) = (self.worker.clone(), self.request.clone());
                if !unary {
                    request.answered(opened.head.status);
                }
                let (head, carried) = Carried::new(self, *opened);
                if unary {
                    let response = Box::pin(unary::collect(&worker, head, carried)).await?;
                    request.answered(response.status());
                    return Ok(Given::Committed(response));
                }
                let body = OutBody::Carried(Box::new(carried));
                Ok(Given::Committed(Response::from_parts(head, body)))
            }
        }
    }

    /// Attempts until one may go to the client.
    async fn attempt_until_commit(&mut self) -> Result<Ran, Refusal> {
        let mut last: Option<Box<Failed>> = None;
        loop {
            let attempt = match self.acquire().await {
                Ok(attempt) => attempt,
                // A replica's own "busy" tells the client more than ours.
                Err(refusal) => return passed_on(last).map(Ran::Given).ok_or(refusal),
            };
            let failed = match self.race(attempt).await {
                End::Commit(response) => return Ok(Ran::Given(Given::Committed(response))),
                End::Stream(opened) => return Ok(Ran::Stream(opened)),
                End::Failed(failed) => failed,
            };
            tracing::debug!(
                service = &*self.entry.service.pool.name,
                outcome = failed.outcome.label(),
                why = failed.text,
                "attempt failed"
            );
            self.permit = None;
            self.request.because(failed.outcome.label());
            if let Some(end) = self.judge(&failed) {
                return match end {
                    Give::Refusal(refusal) => Err(refusal),
                    Give::Answer(refusal) => passed_on(Some(failed)).map(Ran::Given).ok_or(refusal),
                };
            }
            Box::pin(self.before_next(&failed)).await?;
            last = Some(failed);
        }
    }

    /// Whether a failure ends the request; `None` to try again.
    fn judge(&mut self, failed: &Failed) -> Option<Give> {
        let outcome = failed.outcome;
        if failed.client_broke {
            return Some(Give::Refusal(Refusal::BodyBroken(failed.text.clone())));
        }
        if outcome == Outcome::Expired {
            return Some(Give::Refusal(self.expired()));
        }
        if failed.diverged {
            return self.diverged(failed);
        }
        if self.entry.within {
            return Some(Give::Answer(Refusal::NotRepeatable(outcome)));
        }
        if !outcome.worth_retrying() {
            return Some(Give::Answer(Refusal::BadRequest(failed.text.clone())));
        }
        let may_repeat = self.template.repeatable || failed.unsent;
        if !may_repeat || !self.template.can_send() {
            return Some(Give::Answer(Refusal::NotRepeatable(outcome)));
        }
        if outcome.is_hard() {
            self.entry.service.pool.counts.resends.fetch_add(1, Relaxed);
            return None;
        }
        self.soft_failures += 1;
        if self.soft_failures >= self.entry.service.settings.retry.max_attempts {
            return Some(Give::Answer(Refusal::AllFailed {
                service: self.entry.service.settings.name.clone(),
                attempts: self.attempts.get(),
                last: outcome,
            }));
        }
        None
    }

    fn expired(&self) -> Refusal {
        let settings = &self.entry.service.settings.deadlines;
        Refusal::Expired(self.asker.own_deadline.unwrap_or(settings.total))
    }

    /// Time left before the request's deadline.
    fn left(&self, now: Instant) -> Duration {
        self.template.deadline.saturating_duration_since(now)
    }

    fn is_tried(&self, key: u64) -> bool {
        self.tried.borrow().contains(&key)
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.entry.service.pool
    }

    pub(crate) fn request(&self) -> &Rc<RequestGuard> {
        &self.request
    }

    /// After which wait for its first token, or the next one, a stream gets a second
    /// attempt. Only streams tell when that is here.
    fn hedge_after(&self) -> Option<Duration> {
        let learnt = self.pool().hedge_after();
        match &self.onward {
            None => learnt.filter(|_| self.template.watch.is_some()),
            Some(onward) => Some(onward.patience(learnt)),
        }
    }

    /// Whether streams leave a replica that is being drained.
    pub(crate) fn moves_on_drain(&self) -> bool {
        self.entry.service.settings.resume.move_on_drain
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}

/// What a client gets after the last failure.
enum Give {
    /// Our refusal.
    Refusal(Refusal),
    /// The replica's own answer, or our refusal when it gave none.
    Answer(Refusal),
}

fn passed_on(last: Option<Box<Failed>>) -> Option<Given> {
    let failed = last?;
    let outcome = failed.outcome;
    failed.into_answer().map(|response| Given::PassedOn(response, outcome))
}

/// What attempts have led to.
enum Ran {
    Given(Given),
    /// A stream with its first token, or its next one.
    Stream(Box<Opened>),
}

/// What goes to the client.
pub(crate) enum Given {
    /// A committed answer; whoever relays it settles the request.
    Committed(Response<OutBody>),
    /// The answer of a failed attempt, for want of a better one.
    PassedOn(Response<OutBody>, Outcome),
}
