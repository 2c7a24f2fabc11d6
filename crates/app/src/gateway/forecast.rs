//! What is done before a limit is reached: by checks that see one ahead.
//!
//! ```text
//!   checks ─ ahead ─► here ─┬─► its command
//!                           ├─► a disk that fills: old logs of our own go
//!                           └─► memory that leaks: limits ─► drained, restarted, at a quiet time
//!                    each written down before and after
//! ```
//! A forecast is evidence for care, never a reason to kill: what is restarted is drained first,
//! within the limits of recovery. To come: an error budget that runs out, once there is one.

use super::control::GatewayControl;
use super::recovery::Recovery;
use super::source::GatewayState;
use crate::config::{self, Config};
use arc_swap::ArcSwap;
use evenkeel_domain::check::{Ahead, CheckSettings, CheckStatus};
use evenkeel_domain::{Gate, clock};
use evenkeel_recovery::quiet::Load;
use evenkeel_supervisor::logs;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::timeout;

/// How often forecasts and loads are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a command may run.
const RUNS: Duration = Duration::from_secs(300);
/// How long until a restart that was not allowed is asked for again.
const ASKED: Duration = Duration::from_secs(30);
/// How long a restart may take before another forecast counts.
const RENEWS: Duration = Duration::from_secs(900);

/// Acts on forecasts until its gateway drains.
pub(super) struct Forecasts {
    checks: ArcSwap<BTreeMap<String, CheckSettings>>,
    state: Arc<GatewayState>,
    control: GatewayControl,
    recovery: Arc<Recovery>,
}

/// What is remembered from look to look.
#[derive(Default)]
struct Known {
    loads: HashMap<String, Load>,
    /// When something was last done about one thing of a check.
    done: HashMap<(String, String), Instant>,
    /// Replicas that are being restarted: from which start of theirs, since when.
    renewing: HashMap<String, (u64, Instant)>,
}

impl Forecasts {
    pub(super) fn new(
        config: &Config,
        state: &Arc<GatewayState>,
        control: GatewayControl,
        recovery: Arc<Recovery>,
    ) -> Arc<Self> {
        let checks = ArcSwap::from_pointee(by_name(config));
        Arc::new(Self { checks, state: state.clone(), control, recovery })
    }

    /// A new configuration is in force.
    pub(super) fn configure(&self, config: &Config) {
        self.checks.store(Arc::new(by_name(config)));
    }

    /// Looks until this gateway drains: then its successor does.
    pub(super) async fn run(self: Arc<Self>) {
        let mut known = Known::default();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut draining = self.state.shared.draining.subscribe();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = draining.wait_for(|draining| *draining) => return,
            }
            self.look(&mut known, clock::now()).await;
        }
    }

    async fn look(&self, known: &mut Known, now: Instant) {
        for (settings, pool) in self.state.services() {
            let under_way = pool.counts.active.load(Relaxed);
            known.loads.entry(settings.name.clone()).or_default().observe(under_way);
        }
        self.renewed(known, now).await;
        let checks = self.checks.load_full();
        for status in self.state.checks() {
            let Some(settings) = checks.get(&status.check) else { continue };
            if let Some(ahead) = status.ahead.clone() {
                self.one(known, settings, &status, &ahead, now).await;
            }
        }
    }

    async fn one(
        &self,
        known: &mut Known,
        settings: &CheckSettings,
        status: &CheckStatus,
        ahead: &Ahead,
        now: Instant,
    ) {
        let forecast = &settings.forecast;
        let leaks = forecast.act && settings.kind == "process" && ahead.measure == "memory";
        if leaks && self.state.start_of(&status.subject).is_some() {
            self.renew(known, settings, &status.subject, ahead, now).await;
        }
        let key = (status.check.clone(), status.subject.clone());
        let lately = known.done.get(&key);
        if lately.is_some_and(|at| now.saturating_duration_since(*at) < forecast.again) {
            return;
        }
        let fills = forecast.act && settings.kind == "disk" && ahead.measure != "inodes_used";
        if forecast.command.is_empty() && !fills {
            return;
        }
        known.done.insert(key, now);
        if fills {
            self.prune(settings, ahead).await;
        }
        if !forecast.command.is_empty() {
            let (recovery, command) = (self.recovery.clone(), forecast.command.clone());
            let (check, subject) = (status.check.clone(), status.subject.clone());
            let ahead = ahead.clone();
            tokio::spawn(async move { run(&recovery, &command, [&check, &subject], &ahead).await });
        }
    }

    /// Drops old logs of our own from the disk that fills, if they are there.
    async fn prune(&self, settings: &CheckSettings, ahead: &Ahead) {
        let Some(path) = &settings.path else { return };
        let dirs = ["logs", "jobs/logs"].map(|dir| self.state.state_dir.join(dir));
        for dir in dirs.into_iter().filter(|dir| same_disk(dir, path)) {
            let text = format!("old logs in {} go: {}", dir.display(), ahead.text);
            if self.recovery.note("forecast", text).await.is_err() {
                return;
            }
            let said = match logs::prune(&dir) {
                Ok(bytes) => format!("{bytes} bytes of old logs are gone"),
                Err(error) => format!("{}: {error}", dir.display()),
            };
            // The world shows it, should it not be written.
            let _ = self.recovery.note("forecast_end", said).await;
        }
    }

    /// Restarts what leaks, once that is due and allowed.
    async fn renew(
        &self,
        known: &mut Known,
        settings: &CheckSettings,
        name: &str,
        ahead: &Ahead,
        now: Instant,
    ) {
        let asked = (String::from("renew"), name.to_owned());
        let lately = known.done.get(&asked);
        let waits = lately.is_some_and(|at| now.saturating_duration_since(*at) < ASKED);
        if known.renewing.contains_key(name) || waits {
            return;
        }
        let Some(replica) = self.state.member(name) else { return };
        let start = replica.live.incarnation().0;
        let left = Duration::from_millis(ahead.at_unix_ms.saturating_sub(clock::unix_millis()));
        let load = known.loads.get(&*replica.id.service);
        let Some(due) = load.and_then(|load| load.due(left, settings.forecast.within)) else {
            return;
        };
        known.done.insert(asked, now);
        let why = format!("{}; {due}", ahead.text);
        match self.recovery.may_renew(name, &why).await {
            Ok(()) => {
                tracing::warn!(replica = name, why, "restarted before it fails");
                known.renewing.insert(name.to_owned(), (start, now));
                self.control.renew(vec![(name.to_owned(), start)]);
            }
            Err(error) => tracing::warn!(replica = name, why, %error, "not restarted yet"),
        }
    }

    /// Writes down what has come of restarts.
    async fn renewed(&self, known: &mut Known, now: Instant) {
        let mut over = Vec::new();
        for (name, (start, since)) in &known.renewing {
            let Some(replica) = self.state.member(name) else { continue };
            let (live, took) = (&replica.live, now.saturating_duration_since(*since));
            if live.incarnation().0 > *start && live.gate() == Gate::Open {
                over.push((name.clone(), format!("{name} serves again, {took:.1?} later")));
            } else if took > RENEWS {
                over.push((name.clone(), format!("{name} does not serve: {}", live.why())));
            }
        }
        for (name, text) in over {
            known.renewing.remove(&name);
            let _ = self.recovery.note("forecast_end", text).await;
        }
    }
}

fn by_name(config: &Config) -> BTreeMap<String, CheckSettings> {
    config::all_checks(config).into_iter().map(|check| (check.name.clone(), check)).collect()
}

fn same_disk(one: &Path, other: &Path) -> bool {
    let disk = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).ok();
    disk(one).is_some() && disk(one) == disk(other)
}

/// Runs a command, written down before and after.
async fn run(recovery: &Recovery, command: &[String], about: [&str; 2], ahead: &Ahead) {
    let line = command.join(" ");
    let text = format!("check {}: {}; runs `{line}`", about[0], ahead.text);
    if recovery.note("forecast", text).await.is_err() {
        return;
    }
    let said = said(command, &line, about, ahead).await;
    tracing::warn!(check = about[0], subject = about[1], said, "a forecast was acted upon");
    let _ = recovery.note("forecast_end", said).await;
}

async fn said(command: &[String], line: &str, about: [&str; 2], ahead: &Ahead) -> String {
    let Some((program, arguments)) = command.split_first() else { return String::new() };
    let output = Command::new(program)
        .args(arguments)
        .env("EVENKEEL_CHECK", about[0])
        .env("EVENKEEL_SUBJECT", about[1])
        .env("EVENKEEL_MEASURE", &ahead.measure)
        .env("EVENKEEL_AT_UNIX_MS", ahead.at_unix_ms.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(RUNS, output).await {
        Ok(Ok(output)) if output.status.success() => format!("`{line}` has ended well"),
        Ok(Ok(output)) => {
            let error: String = String::from_utf8_lossy(&output.stderr).chars().take(200).collect();
            format!("`{line}` failed ({}): {}", output.status, error.trim())
        }
        Ok(Err(error)) => format!("`{line}` cannot be run: {error}"),
        Err(_) => format!("`{line}` did not end within {RUNS:?}"),
    }
}
