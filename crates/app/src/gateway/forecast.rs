//! What is to be done before a limit is reached: by checks that see one ahead.
//!
//! ```text
//!   checks ─ ahead ─► here: what would help, and when ─► world ─► recovery: an incident
//!   loads ─ quiet? ────┘
//! ```
//! A forecast is evidence for care, never a reason to kill: what is restarted is drained first,
//! at a quiet time, within the limits of recovery. When an error budget runs out is told by `slo`,
//! which nothing acts on.

use super::source::GatewayState;
use crate::config::{self, Config};
use arc_swap::ArcSwap;
use evenkeel_domain::check::{Ahead, CheckSettings, CheckStatus};
use evenkeel_domain::clock;
use evenkeel_domain::incident::{Action, FOREVER, Foreseen, Outlook, Step, Verify, When};
use evenkeel_recovery::quiet::Load;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How often forecasts and loads are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a command may run.
const RUNS: Duration = Duration::from_secs(300);
/// How long a restart may take, its draining included, before it is tried again.
const RENEWS: Duration = Duration::from_secs(900);

/// Directories of our own logs below the state directory.
pub(super) const LOGS: [&str; 2] = ["logs", "jobs/logs"];

/// Looks at forecasts until its gateway drains.
pub(super) struct Forecasts {
    checks: ArcSwap<BTreeMap<String, CheckSettings>>,
    state: Arc<GatewayState>,
}

/// How a thing that is no replica is called, where recovery acts on it.
pub(super) fn target_of(status: &CheckStatus) -> String {
    match status.subject.as_str() {
        "" => format!("check:{}", status.check),
        subject => format!("check:{}/{subject}", status.check),
    }
}

impl Forecasts {
    pub(super) fn new(config: &Config, state: &Arc<GatewayState>) -> Arc<Self> {
        let checks = ArcSwap::from_pointee(by_name(config));
        Arc::new(Self { checks, state: state.clone() })
    }

    /// A new configuration is in force.
    pub(super) fn configure(&self, config: &Config) {
        self.checks.store(Arc::new(by_name(config)));
    }

    /// Looks until this gateway drains: then its successor does.
    pub(super) async fn run(self: Arc<Self>) {
        let mut loads = HashMap::new();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut draining = self.state.shared.draining.subscribe();
        loop {
            tokio::select! {
                _ = tick.tick() => self.look(&mut loads),
                _ = draining.wait_for(|draining| *draining) => return,
            }
        }
    }

    fn look(&self, loads: &mut HashMap<String, Load>) {
        let services = self.state.services();
        loads.retain(|name, _| services.iter().any(|(settings, _)| settings.name == *name));
        for (settings, pool) in services {
            let under_way = pool.counts.active.load(Relaxed);
            loads.entry(settings.name.clone()).or_default().observe(under_way);
        }
        let checks = self.checks.load();
        let mut all: BTreeMap<String, Outlook> = BTreeMap::new();
        for status in self.state.checks() {
            let Some(settings) = checks.get(&status.check) else { continue };
            let Some(ahead) = &status.ahead else { continue };
            let (target, outlook) = self.outlook(settings, &status, ahead, loads);
            // Of several the nearest counts.
            let nearer =
                all.get(&target).is_none_or(|known| outlook.foreseen.at < known.foreseen.at);
            if nearer {
                all.insert(target, outlook);
            }
        }
        self.state.set_outlooks(all);
    }

    /// What one check sees ahead, and about whom.
    fn outlook(
        &self,
        settings: &CheckSettings,
        status: &CheckStatus,
        ahead: &Ahead,
        loads: &HashMap<String, Load>,
    ) -> (String, Outlook) {
        let ours = settings.kind == "process" && self.state.start_of(&status.subject).is_some();
        let target = if ours { status.subject.clone() } else { target_of(status) };
        let due = self.state.member(&target).and_then(|replica| {
            let left = ahead.at_unix_ms.saturating_sub(clock::unix_millis());
            let load = loads.get(&*replica.id.service)?;
            load.due(Duration::from_millis(left), settings.forecast.within)
        });
        let foreseen = Foreseen {
            check: status.check.clone(),
            subject: status.subject.clone(),
            measure: ahead.measure.clone(),
            text: ahead.text.clone(),
            at: ahead.at_unix_ms,
            again: settings.forecast.again,
            path: settings.path.clone(),
        };
        let steps = self.steps(settings, ahead, ours);
        (target, Outlook { foreseen, due: due.map(str::to_owned), steps })
    }

    /// What is done without a playbook; the last is done for as long as it takes.
    fn steps(&self, settings: &CheckSettings, ahead: &Ahead, ours: bool) -> Vec<Step> {
        let forecast = &settings.forecast;
        let mut steps = Vec::new();
        let mut add = |action, timeout| {
            let (when, verify) = (When::Always, Verify::None);
            steps.push(Step { action, when, timeout, verify, tries: 1 });
        };
        let fills = settings.kind == "disk" && ahead.measure != "inodes_used";
        if forecast.act && fills && self.has_logs_on(settings.path.as_deref()) {
            add(Action::DropLogs, RUNS);
        }
        if !forecast.command.is_empty() {
            add(Action::Script { command: forecast.command.clone() }, RUNS);
        }
        if forecast.act && ours && ahead.measure == "memory" {
            add(Action::Renew, RENEWS);
        }
        if let Some(last) = steps.last_mut() {
            (last.verify, last.tries) = (Verify::Serves, FOREVER);
        }
        steps
    }

    /// Whether old logs of our own are on the disk of a path.
    fn has_logs_on(&self, path: Option<&Path>) -> bool {
        let dirs = LOGS.map(|dir| self.state.state_dir.join(dir));
        path.is_some_and(|path| !on_disk_of(path, &dirs).is_empty())
    }
}

fn by_name(config: &Config) -> BTreeMap<String, CheckSettings> {
    config::all_checks(config).into_iter().map(|check| (check.name.clone(), check)).collect()
}

/// Those of the directories that are on the disk of a path.
pub(super) fn on_disk_of(path: &Path, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let disk = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).ok();
    let Some(full) = disk(path) else { return Vec::new() };
    dirs.iter().filter(|dir| disk(dir) == Some(full)).cloned().collect()
}
