//! Prepare, start the workers, watch them, add up.

use crate::load::exchange::Slot;
use crate::load::job::Job;
use crate::load::progress::{Progress, Snapshot};
use crate::load::tally::Tally;
use crate::load::target::Target;
use crate::load::worker::{self, Live, Share, Span};
use crate::load::{Expect, LoadError, LoadSettings, Report};
use evenkeel_domain::clock::now;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
/// The most answers asked of a reference: as many as are kept.
const MOST_REFERENCE: usize = 4_096;

type Results = Vec<oneshot::Receiver<Result<Tally, String>>>;

/// Sends the load and reports what its clients saw. When `shutdown` is ready the run ends
/// at once; requests under way are reported as interrupted. Dropping the future ends it too.
///
/// # Errors
/// When the settings cannot be carried out. Requests that fail are results, not errors.
pub async fn run(
    settings: LoadSettings,
    progress: &dyn Progress,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, LoadError> {
    run_until(settings, progress, std::future::pending(), shutdown).await
}

/// As [`run`]; when `enough` is ready nothing new is sent, and what is under way ends.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    settings: LoadSettings,
    progress: &dyn Progress,
    enough: impl Future<Output = ()> + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Report, LoadError> {
    let job = Arc::new(Job::prepare(settings)?);
    let (mut enough, mut shutdown) = (pin!(enough), pin!(shutdown));
    tokio::select! {
        asked = ask_reference(&job) => asked?,
        () = &mut shutdown => return Err(LoadError::Interrupted),
    }
    let times = times(&job.settings);
    // Dropping the sender stops the workers.
    let (stop, stopped) = watch::channel(false);
    let workers = job.settings.workers.min(job.settings.concurrency());
    let mut lives = Vec::new();
    let mut results = Vec::new();
    for worker in 0..workers {
        let live = Arc::new(Live::default());
        lives.push(live.clone());
        let share = Share { job: job.clone(), worker, workers, times, live };
        let result = worker::spawn(share, stopped.clone());
        results.push(result.map_err(|e| LoadError::Worker(e.to_string()))?);
    }
    let mut all = pin!(gather(results));
    let (mut ending, mut interrupted) = (false, false);
    let mut tick = tokio::time::interval(TICK);
    let tally = loop {
        tokio::select! {
            tally = &mut all => break tally?,
            () = &mut enough, if !ending => {
                ending = true;
                lives.iter().for_each(|live| live.enough.store(true, Relaxed));
            }
            () = &mut shutdown, if !interrupted => {
                interrupted = true;
                stop.send_replace(true);
            }
            _ = tick.tick() => progress.tick(&snapshot(&job, &lives, times)),
        }
    };
    progress.tick(&snapshot(&job, &lives, times));
    progress.end();
    Ok(Report::new(&job.settings, &tally, interrupted))
}

fn times(settings: &LoadSettings) -> Span {
    let start = now();
    let counts_from = start + settings.warm_up;
    Span { start, counts_from, end: settings.duration.map(|d| counts_from + d) }
}

async fn gather(results: Results) -> Result<Tally, LoadError> {
    let mut sum: Option<Tally> = None;
    for result in results {
        let died = |_| LoadError::Worker("died".into());
        let tally = result.await.map_err(died)?.map_err(LoadError::Worker)?;
        match &mut sum {
            None => sum = Some(tally),
            Some(sum) => sum.merge(tally).map_err(LoadError::Worker)?,
        }
    }
    sum.ok_or_else(|| LoadError::Worker("none was started".into()))
}

fn snapshot(job: &Job, lives: &[Arc<Live>], times: Span) -> Snapshot {
    let mut snapshot = Snapshot {
        elapsed: now().saturating_duration_since(times.start),
        planned_time: times.end.map(|end| end.saturating_duration_since(times.start)),
        planned_requests: job.planned(),
        begun: 0,
        ended: 0,
        failed: 0,
        slowest: Duration::ZERO,
    };
    for live in lives {
        // Ended first, so that no more ever seem to have ended than begun.
        snapshot.ended += live.ended.load(Relaxed);
        snapshot.failed += live.failed.load(Relaxed);
        snapshot.begun += live.begun.load(Relaxed);
        let slowest = Duration::from_micros(live.slowest_us.load(Relaxed));
        snapshot.slowest = snapshot.slowest.max(slowest);
    }
    snapshot
}

/// Learns the right answers from the reference, one prompt after the other.
async fn ask_reference(job: &Job) -> Result<(), LoadError> {
    let Expect::Reference(url) = &job.settings.expect else { return Ok(()) };
    let fail = |why: String| LoadError::Reference { url: url.clone(), why };
    let target = Target::new(url, &job.settings)?;
    let mut slot = Slot::default();
    let shots: Box<dyn Iterator<Item = _> + Send> = if job.records.is_empty() {
        Box::new(job.prompts.fixed().iter().cloned())
    } else {
        let records = job.records.iter().take(MOST_REFERENCE);
        Box::new((0..).zip(records).map(|(index, record)| job.prompts.shot(index, Some(*record))))
    };
    for shot in shots {
        let asked = slot.exchange(job, &target, &shot, |_| ());
        match tokio::time::timeout(job.settings.timeout, asked).await {
            Err(_) => return Err(fail("no whole answer in time".into())),
            Ok(Err(flaw)) => return Err(fail(flaw.text)),
            Ok(Ok(())) => {}
        }
        let answer = slot.answer(job.settings.api);
        job.expected.judge(shot.key, answer, true).map_err(fail)?;
    }
    Ok(())
}
