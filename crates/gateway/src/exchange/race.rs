//! Running an attempt, and another beside it when the first one's replica turns suspect.
//!
//! The first to commit wins; the others are dropped, which cancels them.

use super::Exchange;
use super::retry::RetryPermit;
use crate::attempt::guard::AttemptGuard;
use crate::attempt::{End, Failed};
use crate::degrade::NO_HEDGES;
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use evenkeel_domain::{Gate, Health, Replica, SignalKind};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long an attempt is left alone at first.
const QUICK: Duration = Duration::from_millis(20);
/// Shortest wait before an attempt is reported as waiting.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// First report while nothing is known of how long answers take here.
const WAIT_UNKNOWN: Duration = Duration::from_secs(1);

/// How many times the normal wait is late, and the least that is; the last one while nothing
/// is known.
const LATE: u32 = 3;
const LATE_MIN: Duration = Duration::from_secs(1);
const LATE_UNKNOWN: Duration = Duration::from_secs(5);

/// Share of a service's room in use, in percent, above which a hedge would take it from
/// somebody else.
const HEDGE_UTILISATION: u32 = 80;

type Abandon = Rc<Cell<Option<Outcome>>>;

/// The attempts of one race.
struct Runners {
    /// Replica and abandon cell of each attempt still running.
    running: Vec<(Arc<Replica>, Abandon)>,
}

impl Exchange {
    pub(super) async fn race(&self, first: AttemptGuard) -> End {
        let replica = first.replica().clone();
        let worsened = replica.live.worsened.notified();
        tokio::pin!(worsened);
        // Listening takes a lock that all workers share; most answers come before it pays.
        let mut listens = false;
        let mut watch = Watch::new(self, first.started());
        let mut hedged = None;
        let abandon = first.abandon_cell();
        let attempt = self.attempt_on(first);
        tokio::pin!(attempt);
        let timer = tokio::time::sleep_until(watch.next().min(watch.started + QUICK).into());
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                end = &mut attempt => return end,
                () = &mut worsened, if listens => {
                    if is_doubtful(&replica) {
                        break;
                    }
                    worsened.set(replica.live.worsened.notified());
                    worsened.as_mut().enable();
                }
                () = &mut timer => {
                    let now = self.now();
                    if !listens {
                        listens = true;
                        worsened.as_mut().enable();
                        if is_doubtful(&replica) {
                            break;
                        }
                        if now < watch.next() {
                            timer.as_mut().reset(watch.next().into());
                            continue;
                        }
                    }
                    if let Some(outcome) = watch.overdue(now) {
                        abandon.set(Some(outcome));
                        return self.gave_up(&replica, outcome);
                    }
                    if watch.hedge_is_due(now) {
                        // A client is waiting in the middle of its answer.
                        if self.onward.is_some() && self.has_fresh(now) {
                            break;
                        }
                        hedged = self.may_hedge();
                        if hedged.is_some() {
                            break;
                        }
                    }
                    self.report_waiting(&replica, &mut watch, now);
                    if is_doubtful(&replica) {
                        break;
                    }
                    timer.as_mut().reset(watch.next().into());
                }
            }
        }
        let reason = match &hedged {
            Some(_) => &self.pool().counts.hedges,
            None => &self.pool().counts.raced,
        };
        self.request.because(if hedged.is_some() { "hedged" } else { "raced" });
        let runners = Runners { running: vec![(replica.clone(), abandon)] };
        // Boxed: rare, and large.
        Box::pin(self.race_several(attempt.as_mut(), runners, watch, reason)).await
    }

    /// More than one attempt: the first to commit wins.
    async fn race_several(
        &self,
        mut attempt: Pin<&mut impl Future<Output = End>>,
        mut runners: Runners,
        watch: Watch,
        reason: &AtomicU64,
    ) -> End {
        let timer = tokio::time::sleep_until(watch.next().into());
        tokio::pin!(timer);
        let mut field: FuturesUnordered<LocalBoxFuture<'_, End>> = FuturesUnordered::new();
        self.add_runner(&mut runners, &mut field, reason);
        let mut first_ended = false;
        let mut last: Option<End> = None;
        loop {
            timer.as_mut().reset((self.now() + WAIT_MIN).min(watch.limit()).into());
            tokio::select! {
                biased;
                end = &mut attempt, if !first_ended => {
                    first_ended = true;
                    last = Some(end);
                }
                Some(end) = field.next(), if !field.is_empty() => last = Some(end),
                () = &mut timer => {
                    let now = self.now();
                    if let Some(outcome) = watch.overdue(now) {
                        return self.all_overdue(&runners, outcome);
                    }
                    if runners.all_doubtful() {
                        self.add_runner(&mut runners, &mut field, &self.pool().counts.raced);
                    }
                }
            }
            match last.take() {
                Some(won @ (End::Commit(_) | End::Stream(_))) => {
                    if !first_ended && !watch.told_late {
                        runners.first_overtaken();
                    }
                    return won;
                }
                Some(failed) if first_ended && field.is_empty() => return failed,
                _ => {}
            }
        }
    }

    /// Starts one more attempt on a healthy replica that was not tried, where there is one.
    fn add_runner<'s>(
        &'s self,
        runners: &mut Runners,
        field: &mut FuturesUnordered<LocalBoxFuture<'s, End>>,
        reason: &AtomicU64,
    ) {
        if !self.template.repeatable || !self.template.can_send() {
            return;
        }
        let Some(guard) = self.pick_fresh(self.now()) else { return };
        reason.fetch_add(1, Relaxed);
        runners.running.push((guard.replica().clone(), guard.abandon_cell()));
        field.push(Box::pin(self.attempt_on(guard)));
    }

    /// Leave for a second attempt beside a slow one: there must be a replica to ask, most
    /// of the service's room free, and a place in the budget that retries share.
    fn may_hedge(&self) -> Option<RetryPermit> {
        let now = self.now();
        if self.pool().counts.answers.degrade_level.load(Relaxed) >= NO_HEDGES {
            return None;
        }
        if !self.template.repeatable || !self.template.can_send() || !self.has_fresh_on_duty(now) {
            return None;
        }
        let members = self.pool().members();
        let (used, room) = members
            .iter()
            .filter(|r| r.live.gate() == Gate::Open && r.is_bounded())
            .fold((0, 0), |(u, m), r| (u + r.live.in_flight(), m + r.bound()));
        if used * 100 > room * HEDGE_UTILISATION && room > 0 {
            return None;
        }
        RetryPermit::try_take(self.pool(), &self.entry.service.settings.retry)
    }

    fn report_waiting(&self, replica: &Replica, watch: &mut Watch, now: Instant) {
        let waited = watch.advance(now);
        let normal = self.entry.service.pool.expected_first_byte();
        let late = normal.map_or(LATE_UNKNOWN, |n| (n * LATE).max(LATE_MIN));
        if waited >= late
            && !std::mem::replace(&mut watch.told_late, true)
            && let Some(size) = self.request.work().size()
        {
            replica.live.conduct.late(size, watch.started);
        }
        self.worker.shared.signal(replica, SignalKind::Waiting { waited, normal }, now);
    }

    fn all_overdue(&self, runners: &Runners, outcome: Outcome) -> End {
        for (_, abandon) in &runners.running {
            abandon.set(Some(outcome));
        }
        match runners.running.first() {
            Some((replica, _)) => self.gave_up(replica, outcome),
            None => unreachable_end(outcome),
        }
    }

    fn gave_up(&self, replica: &Replica, outcome: Outcome) -> End {
        let text = format!("{} did not answer in time", replica.id.name);
        let place = (replica.id.key, replica.live.incarnation());
        End::Failed(Box::new(Failed::of_stream(outcome, text, place)))
    }
}

fn unreachable_end(outcome: Outcome) -> End {
    End::Failed(Box::new(Failed::of_stream(outcome, "no attempt left".into(), Default::default())))
}

/// Whether another replica should be asked beside this one. What drains, ends what it has.
fn is_doubtful(replica: &Replica) -> bool {
    replica.live.gate() > Gate::Reserve && replica.live.health() != Health::Draining
}

impl Runners {
    /// Another one was faster than the first.
    fn first_overtaken(&self) {
        if let Some((_, abandon)) = self.running.first() {
            abandon.set(Some(Outcome::Cancelled));
        }
    }

    /// Whether every attempt runs on a replica that is not in good health.
    fn all_doubtful(&self) -> bool {
        self.running.iter().all(|(replica, _)| replica.live.gate() > Gate::Reserve)
    }
}

/// When to look at a waiting attempt: reports at growing distances, then the deadlines.
struct Watch {
    started: Instant,
    next_report: Duration,
    first_byte: Instant,
    total: Instant,
    hedge: Option<Instant>,
    /// It was counted as late.
    told_late: bool,
}

impl Watch {
    fn new(exchange: &Exchange, started: Instant) -> Self {
        let service = &exchange.entry.service;
        let normal = service.pool.expected_first_byte();
        Self {
            started,
            next_report: normal.map_or(WAIT_UNKNOWN, |n| n.max(WAIT_MIN)),
            first_byte: started + service.settings.deadlines.first_byte,
            total: exchange.template.deadline,
            hedge: exchange.hedge_after().map(|after| started + after),
            told_late: false,
        }
    }

    fn limit(&self) -> Instant {
        self.first_byte.min(self.total)
    }

    fn next(&self) -> Instant {
        let next = (self.started + self.next_report).min(self.limit());
        self.hedge.map_or(next, |hedge| hedge.min(next))
    }

    /// Whether to hedge now; true once.
    fn hedge_is_due(&mut self, now: Instant) -> bool {
        self.hedge.take_if(|hedge| *hedge <= now).is_some()
    }

    /// The outcome of an attempt whose time is up.
    fn overdue(&self, now: Instant) -> Option<Outcome> {
        if now >= self.total {
            Some(Outcome::Expired)
        } else if now >= self.first_byte {
            Some(Outcome::ReplicaFault(ReplicaFault::FirstByteTimeout))
        } else {
            None
        }
    }

    /// How long the attempt has waited; the next report comes after half as long again.
    fn advance(&mut self, now: Instant) -> Duration {
        let waited = now.saturating_duration_since(self.started);
        self.next_report = self.next_report.max(waited).mul_f32(1.5);
        waited
    }
}
