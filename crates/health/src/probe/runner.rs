//! When to ask: seldom while real traffic proves a replica healthy, often while it is in
//! doubt, at once when the authority wants a second opinion.

use super::{Probe, golden, queue};
use crate::authority::{Probing, Target};
use evenkeel_domain::health::ProbeFailure;
use evenkeel_domain::{Health, Signal, SignalKind, clock, rng};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Shortest time between two probes of one replica, whoever asks.
const SPACING: Duration = Duration::from_millis(100);
/// Jitter of intervals: many replicas must not be asked in step.
const JITTER: f64 = 0.2;
/// Interval for a replica that has been out for a while, as a multiple of the fast one.
const LONG_OUT: (Duration, u32) = (Duration::from_secs(60), 5);

/// Runs one task per replica: it asks how it is, what it knows, and how much it has to do.
#[derive(Debug)]
pub struct Runner {
    signals: mpsc::Sender<Signal>,
    tasks: HashMap<u64, JoinHandle<()>>,
}

impl Runner {
    /// A runner that reports to `signals`. Its tasks live on the current runtime.
    #[must_use]
    pub fn new(signals: mpsc::Sender<Signal>) -> Self {
        Self { signals, tasks: HashMap::new() }
    }
}

impl Probing for Runner {
    fn start(&mut self, target: Target) {
        let key = target.replica.id.key;
        let signals = self.signals.clone();
        let task = tokio::spawn(async move {
            tokio::join!(
                run(&target, &signals),
                golden::run(&target, &signals),
                queue::follow(target.clone()),
            );
        });
        if let Some(old) = self.tasks.insert(key, task) {
            old.abort();
        }
    }

    fn stop(&mut self, key: u64) {
        if let Some(task) = self.tasks.remove(&key) {
            task.abort();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn run(target: &Target, signals: &mpsc::Sender<Signal>) {
    let model = target.settings.models.first().cloned().unwrap_or_default();
    let probe: Arc<dyn Probe> =
        super::build(&target.settings.probe, target.settings.protocol, &model).into();
    let mut rng = rng::from_os();
    let mut wait = Duration::ZERO;
    loop {
        let asked = timeout(wait, target.now.notified()).await.is_ok();
        let now = clock::now();
        if asked || !proven_by_traffic(target, now) {
            let signal = ask(target, &*probe).await;
            if signals.send(signal).await.is_err() {
                return;
            }
        }
        sleep(SPACING).await;
        wait =
            rng::jittered(interval(target, clock::now()), JITTER, &mut rng).saturating_sub(SPACING);
    }
}

fn in_doubt(health: Health) -> bool {
    matches!(health, Health::Starting | Health::Suspect | Health::Isolated)
}

fn interval(target: &Target, now: Instant) -> Duration {
    let settings = &target.settings.probe;
    let live = &target.replica.live;
    if !in_doubt(live.health()) {
        return settings.interval;
    }
    let out_ms = clock::millis(now).saturating_sub(live.since_ms());
    match u128::from(out_ms) > LONG_OUT.0.as_millis() {
        true => (settings.fast_interval * LONG_OUT.1).min(settings.interval),
        false => settings.fast_interval,
    }
}

fn proven_by_traffic(target: &Target, now: Instant) -> bool {
    let live = &target.replica.live;
    let good = live.last_ok_ms();
    let fresh = u64::try_from(target.settings.probe.interval.as_millis()).unwrap_or(u64::MAX);
    !in_doubt(live.health())
        && live.consecutive_faults() == 0
        && good != 0
        && clock::millis(now).saturating_sub(good) < fresh
}

async fn ask(target: &Target, probe: &dyn Probe) -> Signal {
    let replica = &target.replica;
    let incarnation = replica.live.incarnation();
    let began = clock::now();
    let limit = target.settings.probe.timeout;
    let result = timeout(limit, probe.ask(replica)).await;
    let at = clock::now();
    let kind = match result {
        Ok(Ok(())) => SignalKind::ProbeOk(at.saturating_duration_since(began)),
        Ok(Err(failure)) => SignalKind::ProbeFailed(failure),
        Err(_) => SignalKind::ProbeFailed(ProbeFailure {
            refused: false,
            not_ready: false,
            silent: true,
            text: format!("no answer within {limit:?}").into(),
        }),
    };
    Signal { replica: replica.id.key, incarnation, observer: "probe", at, kind }
}
