//! A worker: a thread with a runtime of its own that sends its share of the requests.

use crate::load::exchange::Slot;
use crate::load::job::Job;
use crate::load::pace::Pacer;
use crate::load::prompt::Shot;
use crate::load::schedule::{Arrival, Schedule};
use crate::load::tally::{Tally, Times};
use crate::load::{Flaw, Outcome, Record, retry};
use evenkeel_domain::clock::now;
use evenkeel_domain::rng;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

/// How long a closed loop waits after it found nobody listening, lest it do nothing but
/// count refusals.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// How far past the end the last arrivals may be sent when the worker is a little behind.
const GRACE: Duration = Duration::from_millis(10);

/// What can be seen of a worker while it runs.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) begun: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The longest that one took, in microseconds.
    pub(crate) slowest_us: AtomicU64,
    /// Nothing new is sent; what is under way ends.
    pub(crate) enough: AtomicBool,
}

/// When a run begins, counts and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) counts_from: Instant,
    /// No request is sent from here on.
    pub(crate) end: Option<Instant>,
}

/// One worker's part.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) job: Arc<Job>,
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    pub(crate) times: Span,
    pub(crate) live: Arc<Live>,
}

/// Starts the thread; its tally comes when it has ended or was told to stop.
pub(crate) fn spawn(
    share: Share,
    stop: watch::Receiver<bool>,
) -> std::io::Result<oneshot::Receiver<Result<Tally, String>>> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name(format!("load-{}", share.worker)).spawn(move || {
        // Nobody waits any more when the run was dropped.
        let _ = done.send(work(share, stop));
    })?;
    Ok(result)
}

fn work(share: Share, mut stop: watch::Receiver<bool>) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let tally = Mutex::new(Tally::new(share.times.counts_from)?);
    let hand = Arc::new(Hand { share, tally });
    let result = runtime.block_on(async {
        tokio::select! {
            result = hand.clone().run() => result,
            // An error means that the run was dropped.
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        }
    });
    // Ends what is still under way; it counts as interrupted.
    drop(runtime);
    result?;
    let hand = Arc::into_inner(hand).ok_or("a request outlived its runtime")?;
    Ok(hand.tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Hand {
    share: Share,
    tally: Mutex<Tally>,
}

impl Hand {
    async fn run(self: Arc<Self>) -> Result<(), String> {
        let Share { job, worker, workers, .. } = &self.share;
        let all = job.settings.concurrency();
        let mine = all / workers + usize::from(*worker < all % workers);
        match job.arrivals() {
            None => self.closed(mine).await,
            Some(kind) => {
                let schedule = Schedule::new(kind, *worker, *workers, job.settings.seed);
                self.clone().open(schedule, mine).await
            }
        }
    }

    async fn closed(self: &Arc<Self>, connections: usize) -> Result<(), String> {
        let mut loops = JoinSet::new();
        for _ in 0..connections {
            loops.spawn(self.clone().closed_loop());
        }
        while let Some(ended) = loops.join_next().await {
            ended.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    async fn closed_loop(self: Arc<Self>) {
        let mut slot = Slot::default();
        loop {
            let intended = now();
            if self.is_over(intended) || !self.claim(intended) {
                return;
            }
            let index = self.share.job.next_index();
            if !self.send(&mut slot, index, None, intended).await {
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
    }

    async fn open(self: Arc<Self>, schedule: Schedule, most: usize) -> Result<(), String> {
        let permits = Arc::new(Semaphore::new(most));
        // Last in, first out: no more connections than the load needs.
        let idle: Arc<Mutex<Vec<Slot>>> = Arc::default();
        let mut pacer = Pacer::new().map_err(|e| e.to_string())?;
        for arrival in schedule {
            let intended = self.share.times.start + arrival.at;
            if self.is_over(intended) || !self.claim(intended) {
                break;
            }
            pacer.until(intended).await.map_err(|e| e.to_string())?;
            if self.share.live.enough.load(Relaxed) {
                break;
            }
            let Some(permit) = self.permit(&permits).await else {
                self.unsent(intended);
                continue;
            };
            let (hand, idle) = (self.clone(), idle.clone());
            tokio::spawn(async move {
                let mut slot = locked(&idle).pop().unwrap_or_default();
                let Arrival { index, record, .. } = arrival;
                hand.send(&mut slot, index, record, intended).await;
                locked(&idle).push(slot);
                drop(permit);
            });
        }
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        permits.acquire_many(all).await.map(drop).map_err(|e| e.to_string())
    }

    /// Leave to send; `None` when there is none until the end of the run.
    async fn permit(&self, permits: &Arc<Semaphore>) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let waiting = permits.clone().acquire_owned();
        match self.share.times.end {
            None => waiting.await.ok(),
            Some(end) if now() > end + GRACE => None,
            Some(end) => tokio::time::timeout_at((end + GRACE).into(), waiting).await.ok()?.ok(),
        }
    }

    fn is_over(&self, at: Instant) -> bool {
        let enough = self.share.live.enough.load(Relaxed);
        enough || self.share.times.end.is_some_and(|end| at >= end)
    }

    fn counts(&self, intended: Instant) -> bool {
        intended >= self.share.times.counts_from
    }

    fn claim(&self, intended: Instant) -> bool {
        !self.counts(intended) || self.share.job.may_count()
    }

    fn unsent(&self, intended: Instant) {
        if self.counts(intended) {
            locked(&self.tally).unsent(intended);
        }
    }

    /// Sends one request and counts how it went; `false` if nobody was there.
    async fn send(
        &self,
        slot: &mut Slot,
        index: u64,
        record: Option<Record>,
        intended: Instant,
    ) -> bool {
        let Share { job, live, .. } = &self.share;
        let counts = self.counts(intended);
        live.begun.fetch_add(1, Relaxed);
        if counts {
            locked(&self.tally).begin(intended);
        }
        let shot = job.prompts.shot(index, record);
        let sent = now();
        let mut rng = rng::seeded(job.settings.seed ^ index);
        let mut tries = 0;
        let result = loop {
            let began = now();
            let result = self.once(slot, &shot, intended).await;
            let Err(flaw) = &result else { break result };
            if counts && flaw.again.refused {
                locked(&self.tally).refused(now().saturating_duration_since(began));
            }
            let pause = match tries < job.settings.retries {
                true => retry::pause(flaw, tries + 1, &mut rng),
                false => None,
            };
            let Some(pause) = pause else { break result };
            tries += 1;
            if counts {
                locked(&self.tally).retries += 1;
            }
            tokio::time::sleep(pause).await;
        };
        live.ended.fetch_add(1, Relaxed);
        let outcome = result.as_ref().err().map(|flaw| flaw.outcome);
        live.failed.fetch_add(u64::from(outcome.is_some()), Relaxed);
        let open = job.is_open();
        let ended = now();
        let waited = ended.saturating_duration_since(intended).as_micros();
        live.slowest_us.fetch_max(u64::try_from(waited).unwrap_or(u64::MAX), Relaxed);
        let mut tally = locked(&self.tally);
        if counts {
            tally.end(Times { intended, sent, ended }, slot.received, open, result);
        } else {
            tally.warm_up += 1;
        }
        !matches!(outcome, Some(Outcome::Refused | Outcome::Unreachable))
    }

    /// One try.
    async fn once(&self, slot: &mut Slot, shot: &Shot, intended: Instant) -> Result<(), Flaw> {
        let job = &self.share.job;
        let counts = self.counts(intended);
        let mut last = None;
        let on_tokens = |count| {
            let at = now();
            if counts {
                self.tokens(intended, last.replace(at), at, count);
            }
        };
        let exchange = slot.exchange(job, &job.target, shot, on_tokens);
        match tokio::time::timeout(job.settings.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Flaw::new(Outcome::Timeout, timeout_text(job.settings.timeout))),
        }
    }

    fn tokens(&self, intended: Instant, last: Option<Instant>, at: Instant, count: u64) {
        let mut tally = locked(&self.tally);
        match last {
            None => tally.first_tokens(at, intended, count),
            Some(last) => tally.next_tokens(at.saturating_duration_since(last), count),
        }
    }
}

fn timeout_text(timeout: Duration) -> String {
    format!("no whole answer within {timeout:?}")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while counting leaves at most one request uncounted.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
