//! The runner: executes batches while it holds the lease.
//!
//! ```text
//!   Runner ── stop, limit, busy ──► task
//!                                    │ acquire ─► Work (worker.rs) ─► lost or stopped
//!                                    │    ▲                              │
//!                                    └────┴──────────────────────────────┘
//!   Work: batches ─► chores  (read a file, load, write the outputs)
//!         lines   ─► calls   (bounded; each answer waits to be kept)
//!         answers ─► commits (one at a time; what came meanwhile goes together)
//! ```
//!
//! **Exactly once, in the output**: an answer is kept under its line, at most one each, and
//! the output is written from what is kept. A line whose answer was not kept yet when the
//! process died is sent again: it may have been *executed* twice, under the same
//! idempotency key.

mod chore;
mod line;
mod schedule;
mod worker;

use crate::http::Parts;
use evenkeel_domain::clock;
use evenkeel_domain::durable::{Fence, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};
use worker::{Left, Work};

/// How often a lease that another holds is asked for, as a part of its time.
const ASK: u32 = 4;
/// … and at least so often: one who stops gives it back, and need not be waited out.
const ASK_LEAST: Duration = Duration::from_secs(1);
/// Pause after something broke that should not be able to.
const AGAIN: Duration = Duration::from_secs(1);

/// What a runner is doing, for metrics and status pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whether it holds the lease.
    pub leads: bool,
    /// Batches that have not ended.
    pub open: usize,
    /// Batches whose lines are being sent.
    pub active: usize,
    /// Lines under way.
    pub under_way: usize,
    /// Answers kept since the process began.
    pub answered: u64,
    /// … of which errors.
    pub failed: u64,
    /// Calls that were refused for want of room, and come again.
    pub refused: u64,
    /// Calls that a server failed, and come again.
    pub faulted: u64,
}

/// The same as atomics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    leads: AtomicBool,
    open: AtomicUsize,
    active: AtomicUsize,
    under_way: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    faulted: AtomicU64,
}

/// What steers a runner.
#[derive(Clone)]
pub(crate) struct Signals {
    /// Lines under way at most.
    pub(crate) limit: watch::Receiver<usize>,
    /// Whether interactive work wants the replicas: no line is sent then.
    pub(crate) busy: watch::Receiver<bool>,
    /// When to have stopped.
    pub(crate) stop: watch::Receiver<Option<Instant>>,
}

/// Executes batches, as a task of its own.
///
/// Spawn it on a runtime where a few milliseconds of work hold up nobody: it reads JSON and
/// seals content. Dropped without [`Runner::stop`], it ends at once, as if it were killed.
#[derive(Debug)]
pub struct Runner {
    stop: watch::Sender<Option<Instant>>,
    limit: watch::Sender<usize>,
    counters: Arc<Counters>,
    task: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts. `holder` names this process in the lease: it must be another for each start,
    /// such as `host/pid/start time`. While `busy` holds true no further line is sent; when
    /// its sender is gone, its last value holds.
    #[must_use]
    pub fn spawn(parts: Parts, holder: String, busy: watch::Receiver<bool>) -> Self {
        let (stop, stopping) = watch::channel(None);
        let (limit, limits) = watch::channel(parts.settings.concurrency);
        let counters = Arc::new(Counters::default());
        let signals = Signals { limit: limits, busy, stop: stopping };
        let task = tokio::spawn(lead(parts, holder, signals, counters.clone()));
        Self { stop, limit, counters, task: Some(task) }
    }

    /// How many lines may be under way from now on. What is under way goes on; with 0 no
    /// further line is sent.
    pub fn set_limit(&self, lines: usize) {
        self.limit.send_replace(lines);
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let all = &self.counters;
        Stats {
            leads: all.leads.load(Ordering::Relaxed),
            open: all.open.load(Ordering::Relaxed),
            active: all.active.load(Ordering::Relaxed),
            under_way: all.under_way.load(Ordering::Relaxed),
            answered: all.answered.load(Ordering::Relaxed),
            failed: all.failed.load(Ordering::Relaxed),
            refused: all.refused.load(Ordering::Relaxed),
            faulted: all.faulted.load(Ordering::Relaxed),
        }
    }

    /// Sends nothing more, waits up to `grace` for what is under way, keeps its answers and
    /// gives the lease back. What is not answered by then is sent again by whoever comes
    /// next. Takes a little longer than `grace` at most.
    pub async fn stop(mut self, grace: Duration) {
        /// For the last answers to be kept, and the lease to be given back.
        const LAST: Duration = Duration::from_secs(5);
        self.stop.send_replace(Some(Instant::now() + grace));
        let Some(task) = self.task.take() else { return };
        let abort = task.abort_handle();
        if time::timeout(grace + LAST, task).await.is_err() {
            tracing::warn!("batch work did not stop in time and was ended");
            abort.abort();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Works whenever the lease is to be had.
async fn lead(parts: Parts, holder: String, mut signals: Signals, counters: Arc<Counters>) {
    let ttl = parts.settings.lease;
    let mut rng = evenkeel_domain::rng::from_os();
    loop {
        let Some(fence) = acquire(&parts, &holder, ttl, &mut signals).await else { return };
        tracing::info!(epoch = fence.epoch, "this process executes batches");
        counters.leads.store(true, Ordering::Relaxed);
        let seed = rng.u64(..);
        let work = Work::new(parts.clone(), fence.clone(), signals.clone(), counters.clone(), seed);
        let left = Box::pin(work.run()).await;
        counters.leads.store(false, Ordering::Relaxed);
        match left {
            Left::Lost => tracing::warn!("another process executes batches now"),
            Left::Broken => {
                release(&parts, &fence).await;
                time::sleep(AGAIN).await;
            }
            Left::Stopped => return release(&parts, &fence).await,
        }
    }
}

async fn release(parts: &Parts, fence: &Fence) {
    if let Err(error) = parts.store.release(fence).await {
        tracing::warn!(%error, "the lease on batch work was not given back");
    }
}

/// Waits for the lease; `None` when asked to stop.
async fn acquire(
    parts: &Parts,
    holder: &str,
    ttl: Duration,
    signals: &mut Signals,
) -> Option<Fence> {
    let mut told = None;
    loop {
        match parts.store.acquire(holder, millis(ttl), parts.now()).await {
            Ok(Some(fence)) => return Some(fence),
            Ok(None) => told = None,
            Err(error) => tell_once(&mut told, error),
        }
        tokio::select! {
            biased;
            _ = signals.stop.wait_for(Option::is_some) => return None,
            () = time::sleep((ttl / ASK).min(ASK_LEAST)) => {}
        }
    }
}

/// Logs an error unless it is the one that was logged last.
pub(crate) fn tell_once(told: &mut Option<StoreError>, error: StoreError) {
    if told.as_ref() != Some(&error) {
        tracing::warn!(%error, "batch work waits for its store");
        *told = Some(error);
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A name for [`Runner::spawn`] that no other start has.
#[must_use]
pub fn holder() -> String {
    format!("{}/{}", std::process::id(), clock::unix_millis())
}
