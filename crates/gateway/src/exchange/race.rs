//! Running an attempt, and another beside it when the first one's replica turns suspect.
//!
//! The first to commit wins; the others are dropped, which cancels them.

use super::Exchange;
use crate::attempt::guard::AttemptGuard;
use crate::attempt::{End, Failed};
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use evenkeel_domain::{Gate, Health, Replica, SignalKind};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Shortest wait before an attempt is reported as waiting.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// First report while nothing is known of how long answers take here.
const WAIT_UNKNOWN: Duration = Duration::from_secs(1);

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
        worsened.as_mut().enable();
        let mut watch = Watch::new(self, first.started());
        let abandon = first.abandon_cell();
        let attempt = self.attempt_on(first);
        tokio::pin!(attempt);
        let timer = tokio::time::sleep_until(watch.next().into());
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                end = &mut attempt => return end,
                () = &mut worsened => {
                    if replica.live.gate() != Gate::Open && replica.live.health() != Health::Draining {
                        break;
                    }
                    worsened.set(replica.live.worsened.notified());
                    worsened.as_mut().enable();
                }
                () = &mut timer => {
                    let now = self.now();
                    if let Some(outcome) = watch.overdue(now) {
                        abandon.set(Some(outcome));
                        return self.gave_up(&replica, outcome);
                    }
                    self.report_waiting(&replica, &mut watch, now);
                    if replica.live.gate() != Gate::Open && replica.live.health() != Health::Draining {
                        break;
                    }
                    timer.as_mut().reset(watch.next().into());
                }
            }
        }
        // The slow path: more than one attempt.
        let mut runners = Runners { running: vec![(replica.clone(), abandon)] };
        let mut field: FuturesUnordered<LocalBoxFuture<'_, End>> = FuturesUnordered::new();
        self.add_runner(&mut runners, &mut field);
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
                        self.add_runner(&mut runners, &mut field);
                    }
                }
            }
            match last.take() {
                Some(won @ (End::Commit(_) | End::Stream(_))) => return won,
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
    ) {
        if !self.template.repeatable || !self.template.can_send() {
            return;
        }
        let Some(guard) = self.pick_fresh(self.now()) else { return };
        self.entry.service.pool.counts.raced.fetch_add(1, Relaxed);
        runners.running.push((guard.replica().clone(), guard.abandon_cell()));
        field.push(Box::pin(self.attempt_on(guard)));
    }

    fn report_waiting(&self, replica: &Replica, watch: &mut Watch, now: Instant) {
        let waited = watch.advance(now);
        let normal = self.entry.service.pool.expected_first_byte();
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

impl Runners {
    /// Whether every attempt runs on a replica that is not in good health.
    fn all_doubtful(&self) -> bool {
        self.running.iter().all(|(replica, _)| replica.live.gate() != Gate::Open)
    }
}

/// When to look at a waiting attempt: reports at growing distances, then the deadlines.
struct Watch {
    started: Instant,
    next_report: Duration,
    first_byte: Instant,
    total: Instant,
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
        }
    }

    fn limit(&self) -> Instant {
        self.first_byte.min(self.total)
    }

    fn next(&self) -> Instant {
        (self.started + self.next_report).min(self.limit())
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
