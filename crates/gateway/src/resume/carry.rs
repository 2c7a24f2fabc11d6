//! A stream on its way to the client, over as many replicas as it takes.
//!
//! ```text
//!   flowing ──fault──► broken ──successor has the next token──► flowing
//!      │                  └── nobody can go on ──► error event, end
//!      └─ silent, or its replica in doubt ──► flowing + rescue under way
//!            the old stream lives until the new one has the next token
//! ```
//! One future without a task: it runs when the client's connection asks for more, and is
//! dropped with it, and all attempts with it.

use super::Api;
use super::ask::Ask;
use super::ledger::Ledger;
use super::live::{Fault, Live, Next};
use super::pace::Pace;
use crate::attempt::guard::RequestGuard;
use crate::attempt::{Failed, Opened};
use crate::body::BodyError;
use crate::body::relay::error_event;
use crate::error::{Refusal, Shape};
use crate::exchange::{Cause, Exchange};
use crate::shared::Reserved;
use bytes::Bytes;
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use evenkeel_domain::{Gate, Health, Pool, clock};
use futures_util::future::LocalBoxFuture;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use hyper::body::Frame;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

/// How long a finished answer waits for what may follow (`[DONE]`, usage).
const CLOSING: Duration = Duration::from_millis(250);
/// How long the end of the replica's own stream is waited for, to keep its connection.
const DRAIN: Duration = Duration::from_millis(50);
/// When a rescue for which there was no replica or no budget is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a stream that is being moved is not read.
const PAUSED_MAX: Duration = Duration::from_millis(500);
/// How finely progress is told to those who watch the replica.
const MOVE_STEP: Duration = Duration::from_millis(50);
/// One gap in so many is counted: enough for a percentile, and cheap.
const GAP_SAMPLE: u64 = 8;
/// The same for what its replica is compared by: short answers must tell, too.
const PACE_SAMPLE: u64 = 4;
/// A stream that is in doubt and silent for so long is raced: others give a token in less.
const DOUBT_SILENCE: Duration = Duration::from_millis(30);

/// The answer's body.
pub(crate) struct Carried {
    driver: Option<LocalBoxFuture<'static, ()>>,
    out: Rc<Outlet>,
}

/// Where the driver puts what the client gets next.
#[derive(Default)]
struct Outlet(RefCell<Option<Result<Bytes, BodyError>>>);

impl Outlet {
    /// Gives a piece and waits until it was taken: the driver runs only when more is wanted.
    async fn put(&self, bytes: Bytes) {
        self.put_last(bytes);
        poll_fn(|_| if self.0.borrow().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Gives the last piece.
    fn put_last(&self, bytes: Bytes) {
        *self.0.borrow_mut() = Some(Ok(bytes));
    }
}

impl Carried {
    /// The head and body for a stream that has its first token.
    pub(crate) fn new(exchange: Exchange, opened: Opened) -> (Parts, Self) {
        let Opened { mut head, live, first } = opened;
        head.headers.remove(CONTENT_LENGTH);
        let out = Rc::<Outlet>::default();
        let driver = Driver::new(exchange, *live, out.clone());
        let driver = Some(Box::pin(driver.run(first)) as LocalBoxFuture<'static, ()>);
        (head, Self { driver, out })
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(item) = self.out.0.take() {
                return Poll::Ready(Some(item.map(Frame::data)));
            }
            let Some(driver) = &mut self.driver else { return Poll::Ready(None) };
            match driver.as_mut().poll(cx) {
                Poll::Ready(()) => self.driver = None,
                Poll::Pending if self.out.0.borrow().is_none() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.driver.is_none() && self.out.0.borrow().is_none()
    }
}

type Rescue = LocalBoxFuture<'static, (Exchange, Result<Opened, Refusal>)>;

struct Driver {
    out: Rc<Outlet>,
    pool: Arc<Pool>,
    request: Rc<RequestGuard>,
    /// Away while a rescue has it.
    exchange: Option<Box<Exchange>>,
    /// `None` between a break and its successor.
    live: Option<Box<Live>>,
    rescue: Option<Rescue>,
    /// The old stream is not read for a moment: at the same pace, a successor would never
    /// come level with it.
    paused: bool,
    worsened: Pin<Box<OwnedNotified>>,
    timer: Option<Pin<Box<Sleep>>>,
    pace: Pace,
    idle: Duration,
    deadline: Instant,
    shape: Shape,
    ask: Rc<Ask>,
    ledger: Rc<RefCell<Ledger>>,
    /// When the answer last got longer.
    moved: Instant,
    told: Instant,
    /// No rescue before this: the last one did not help.
    not_before: Instant,
    events: u64,
    memory: Reserved,
}

/// What woke the driver.
enum Event {
    Next(Next),
    Rescued(Box<Exchange>, Result<Opened, Refusal>),
    Doubt,
    Tick,
}

impl Driver {
    fn new(exchange: Exchange, live: Live, out: Rc<Outlet>) -> Self {
        let now = clock::now();
        let template = exchange.template();
        let (idle, deadline, shape) = (template.idle, template.deadline, template.shape);
        Self {
            out,
            pool: exchange.pool().clone(),
            request: exchange.request().clone(),
            pace: Pace::of(exchange.pool(), idle),
            worsened: watch(&live),
            memory: Reserved::none(exchange.worker()),
            exchange: Some(Box::new(exchange)),
            ask: live.ask.clone(),
            ledger: live.ledger.clone(),
            live: Some(Box::new(live)),
            rescue: None,
            paused: false,
            timer: None,
            idle,
            deadline,
            shape,
            moved: now,
            told: now,
            not_before: now,
            events: 0,
        }
    }

    async fn run(mut self, first: Bytes) {
        if self.pass_on(first, true).await {
            return;
        }
        loop {
            let done = match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Next(Next::Events { bytes, progress, .. }) => {
                    self.pass_on(bytes, progress).await
                }
                Event::Next(Next::End) => self.close(Bytes::new()).await,
                Event::Next(Next::Fault(fault)) => self.broke(fault),
                Event::Rescued(exchange, end) => {
                    self.exchange = Some(exchange);
                    self.rescued(end).await
                }
                Event::Doubt => self.doubt(),
                Event::Tick => self.tick().await,
            };
            if done {
                return;
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !self.paused
            && let Some(live) = &mut self.live
            && let Poll::Ready(next) = live.poll_next(cx)
        {
            return Poll::Ready(Event::Next(next));
        }
        if let Some(rescue) = &mut self.rescue
            && let Poll::Ready((exchange, end)) = rescue.as_mut().poll(cx)
        {
            self.rescue = None;
            return Poll::Ready(Event::Rescued(Box::new(exchange), end));
        }
        if self.rescue.is_none()
            && let Some(live) = &self.live
            && self.worsened.as_mut().poll(cx).is_ready()
        {
            self.worsened = watch(live);
            return Poll::Ready(Event::Doubt);
        }
        self.poll_timer(cx).map(|()| Event::Tick)
    }

    /// Watches the clock without touching the timer on each token.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.next_look();
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        if timer.deadline() > until.into() {
            timer.as_mut().reset(until.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if clock::now() >= until {
                self.timer = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(until.into());
        }
        Poll::Pending
    }

    /// When the clock must be looked at next.
    fn next_look(&self) -> Instant {
        let wait = match &self.live {
            Some(live) if self.ledger.borrow().is_answered(&live.ask) => CLOSING,
            Some(_) if self.paused => PAUSED_MAX,
            Some(_) if self.rescue.is_some() => self.idle,
            Some(_) if self.not_before <= self.moved => self.pace.race,
            Some(_) => return self.not_before.min(self.moved + self.idle).min(self.deadline),
            None => return self.deadline,
        };
        (self.moved + wait).min(self.deadline)
    }

    /// Gives events to the client. True when these were the last.
    async fn pass_on(&mut self, bytes: Bytes, progress: bool) -> bool {
        if progress {
            self.count_progress();
        }
        let Some(live) = &self.live else { return true };
        if live.is_ended() {
            return self.close(bytes).await;
        }
        if !bytes.is_empty() {
            self.out.put(bytes).await;
        }
        false
    }

    fn count_progress(&mut self) {
        let now = clock::now();
        let gap = now.saturating_duration_since(self.moved);
        self.moved = now;
        let Some(live) = &self.live else { return };
        self.request.relayed();
        self.events += 1;
        if self.events.is_multiple_of(PACE_SAMPLE) {
            live.guard.gap(gap);
        }
        if self.events.is_multiple_of(GAP_SAMPLE) {
            self.pool.counts.gap.record(gap);
            let mut ledger = live.ledger.borrow_mut();
            if !self.memory.grow_to(ledger.size() as u64) {
                ledger.forget();
            }
        }
        if now.saturating_duration_since(self.told) >= MOVE_STEP {
            self.told = now;
            live.guard.replica().live.moved(now);
        }
    }

    /// The answer is whole: ends the client's stream, with what its replica left out.
    async fn close(&mut self, bytes: Bytes) -> bool {
        let Some(mut live) = self.live.take() else { return true };
        self.rescue = None;
        let missing = match live.ledger.borrow().last || live.client_fault {
            true => "",
            false => ending(live.ask.api),
        };
        let bytes = match missing {
            "" => bytes,
            missing => [&bytes[..], missing.as_bytes()].concat().into(),
        };
        // What does not end is not read to its end.
        let endless = live.endless;
        let drained = poll_fn(|cx| Poll::Ready(endless || live.poll_drain(cx).is_ready())).await;
        if drained {
            self.settle(*live);
            self.out.put_last(bytes);
            return true;
        }
        if !bytes.is_empty() {
            self.out.put(bytes).await;
        }
        let _ = tokio::time::timeout(DRAIN, poll_fn(|cx| live.poll_drain(cx))).await;
        self.settle(*live);
        true
    }

    fn settle(&self, live: Live) {
        let outcome = if live.client_fault { Outcome::ClientFault } else { Outcome::Ok };
        let endless = Outcome::ReplicaFault(ReplicaFault::Endless);
        live.guard.settle(if live.endless { endless } else { outcome });
        // What the client got is whole.
        self.end(outcome);
    }

    /// The request ends so, having taken what its answer told of.
    fn end(&self, outcome: Outcome) {
        let mut used = self.ledger.borrow().told;
        // A token an event, as most servers send them.
        used.completion.get_or_insert(self.ledger.borrow().events);
        self.request.used(used);
        self.request.settle(outcome);
    }

    /// The replica's stream cannot go on.
    fn broke(&mut self, fault: Fault) -> bool {
        let Some(live) = self.live.take() else { return false };
        tracing::debug!(
            replica = &*live.guard.replica().id.name,
            outcome = fault.outcome.label(),
            why = fault.text,
            "stream broke"
        );
        if self.rescue.is_some() {
            // Another is on its way already.
            live.guard.settle(if fault.diverged { Outcome::Cancelled } else { fault.outcome });
            return false;
        }
        self.begin_rescue(*live, fault);
        false
    }

    /// Lets another replica go on; the old stream is given up.
    fn begin_rescue(&mut self, live: Live, fault: Fault) {
        let Some(exchange) = self.exchange.take() else { return };
        let (ask, ledger) = (live.ask.clone(), live.ledger.clone());
        let replica = live.guard.replica().clone();
        let place = (replica.id.key, live.guard.incarnation());
        live.guard.settle(if fault.diverged { Outcome::Cancelled } else { fault.outcome });
        let failed = Box::new(Failed::of_stream(fault.outcome, fault.text, place));
        self.rescue = Some(Box::pin(exchange.go_on(ask, ledger, replica, Cause::Broke(failed))));
    }

    /// Starts a rescue beside the stream that still lives: within the retry budget as long
    /// as nothing but a short silence speaks against its replica.
    fn race(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let Some(live) = &self.live else {
            self.exchange = Some(exchange);
            return;
        };
        let replica = live.guard.replica().clone();
        let silence = clock::now().saturating_duration_since(self.moved);
        let cause = match replica.live.gate() > Gate::Reserve || silence >= self.pace.stall {
            true => Cause::Doubt,
            false => Cause::Silence,
        };
        self.pool.counts.rescues.fetch_add(1, Relaxed);
        let (ask, ledger) = (live.ask.clone(), live.ledger.clone());
        self.rescue = Some(Box::pin(exchange.go_on(ask, ledger, replica, cause)));
    }

    /// The replica's gate got narrower.
    fn doubt(&mut self) -> bool {
        let Some(live) = &self.live else { return false };
        let replica = live.guard.replica();
        let silence = clock::now().saturating_duration_since(self.moved);
        let drains = replica.live.health() == Health::Draining;
        let moves = match drains {
            // It was told to stop; what is under way there need not hold it up.
            true => self.exchange.as_ref().is_some_and(|e| e.moves_on_drain()),
            false => replica.live.gate() == Gate::Shut || silence >= DOUBT_SILENCE,
        };
        if moves && !live.ledger.borrow().forgotten {
            self.race();
            self.paused = drains && self.rescue.is_some();
        }
        false
    }

    async fn tick(&mut self) -> bool {
        let now = clock::now();
        if now >= self.deadline {
            return self.give_up(Outcome::Expired, "the request's deadline ran out");
        }
        if std::mem::take(&mut self.paused) {
            return false;
        }
        let Some(live) = &self.live else { return false };
        let (answered, forgotten) = {
            let ledger = live.ledger.borrow();
            (ledger.is_answered(&live.ask), ledger.forgotten)
        };
        let silence = now.saturating_duration_since(self.moved);
        if answered && silence >= CLOSING {
            let usage_missing = self.ask.usage && !self.ledger.borrow().usage;
            if usage_missing {
                let outcome = Outcome::ReplicaFault(ReplicaFault::Truncated);
                let text = "no usage came after the finish reason".into();
                return self.broke(Fault { outcome, text, diverged: false });
            }
            return self.close(Bytes::new()).await;
        }
        if silence >= self.idle {
            let text = format!("the replica sent nothing for {:?}", self.idle);
            let outcome = Outcome::ReplicaFault(ReplicaFault::Stalled);
            return self.broke(Fault { outcome, text, diverged: false });
        }
        if silence >= self.pace.race && self.rescue.is_none() && now >= self.not_before {
            self.not_before = now + self.pace.race.max(silence);
            if !forgotten {
                self.race();
            }
        }
        false
    }

    /// A rescue has ended. True when that ends the client's stream.
    async fn rescued(&mut self, end: Result<Opened, Refusal>) -> bool {
        self.paused = false;
        let refusal = match end {
            Ok(opened) => return self.adopt(opened).await,
            Err(refusal) => refusal,
        };
        if self.live.is_some() {
            // The old stream may still come to itself.
            let pause = match refusal {
                Refusal::Unavailable { .. } => AGAIN,
                _ => self.pace.stall,
            };
            self.not_before = clock::now() + pause;
            return false;
        }
        self.give_up(refusal.outcome(), &refusal.to_string())
    }

    async fn adopt(&mut self, opened: Opened) -> bool {
        let Opened { live, first, .. } = opened;
        if let Some(rung) = live.rung() {
            self.pool.counts.resumed[rung as usize].fetch_add(1, Relaxed);
            tracing::debug!(
                replica = &*live.guard.replica().id.name,
                rung = rung.label(),
                "stream goes on"
            );
        }
        if let Some(old) = self.live.take() {
            let silence = clock::now().saturating_duration_since(self.moved);
            let outcome = match silence >= self.pace.race {
                true => Outcome::ReplicaFault(ReplicaFault::Stalled),
                false => Outcome::Cancelled,
            };
            old.guard.settle(outcome);
        }
        self.worsened = watch(&live);
        self.live = Some(live);
        self.not_before = self.moved;
        self.pass_on(first, true).await
    }

    /// The end of the ladder: says so in band, never silently.
    fn give_up(&mut self, outcome: Outcome, text: &str) -> bool {
        if let Some(live) = self.live.take() {
            live.guard.settle(outcome);
        }
        self.rescue = None;
        let answered = self.ledger.borrow().is_answered(&self.ask);
        if answered {
            // The content is whole; only usage or the last event could not be had.
            self.end(Outcome::Ok);
            self.out.put_last(Bytes::from_static(ending(self.ask.api).as_bytes()));
            return true;
        }
        self.pool.counts.broken_streams.fetch_add(1, Relaxed);
        self.end(outcome);
        self.out.put_last(error_event(self.shape, outcome, text));
        true
    }
}

fn watch(live: &Live) -> Pin<Box<OwnedNotified>> {
    let mut worsened = Box::pin(live.guard.replica().live.worsened.clone().notified_owned());
    worsened.as_mut().enable();
    worsened
}

/// What ends a stream whose replica left its end out.
fn ending(api: Api) -> &'static str {
    match api {
        Api::Chat | Api::Completions => "data: [DONE]\n\n",
        Api::Messages => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        // Its finish is its last event.
        Api::Responses => "",
    }
}
