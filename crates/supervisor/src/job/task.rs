//! One job: a task that starts it, watches it and starts it again until it has reached its
//! end.

use super::checkpoint::Manifest;
use super::plan::{self, Next};
use super::record::Record;
use super::watch::{At, Found, Watch};
use super::{Shared, Want, Wish};
use evenkeel_domain::clock;
use evenkeel_domain::job::{CheckpointSettings, JobFailure, JobSettings, JobStage, JobStatus};
use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, Phase};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A job is never ready, so it has as long as it takes.
const ENDLESS: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What hangs is given this long to end by itself at most.
const HUNG_GRACE: Duration = Duration::from_secs(5);
/// Failures that are shown.
const SHOWN: usize = 8;

/// One start.
struct Run {
    incarnation: u64,
    started_ms: u64,
    from: String,
    /// When it last showed that it gets on.
    moved_ms: u64,
    /// When it last printed anything.
    printed_ms: u64,
    output: (u64, Option<SystemTime>),
    progress: Option<String>,
    watch: Watch,
    /// Why it was asked to end.
    asked: Option<Asked>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Hung(String),
    Stop,
    Restart,
}

pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) settings: JobSettings,
    pub(super) record: Record,
    /// Its past cannot be read: nothing is done before a person has looked.
    pub(super) unreadable: Option<String>,
    turn: u64,
    run: Option<Run>,
    /// When it is started again.
    due_ms: u64,
    why: String,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, wish: watch::Receiver<Wish>) -> Self {
        let (settings, turn) = (wish.borrow().settings.clone(), wish.borrow().turn);
        let (record, unreadable) = match Record::read(&shared.file(&settings.name)) {
            Ok(record) => (record, None),
            Err(error) => (Record::default(), Some(error.to_string())),
        };
        let why = record.end.as_ref().map_or("not started yet".into(), |(_, why)| why.clone());
        Self { shared, wish, settings, record, unreadable, turn, run: None, due_ms: 0, why }
    }

    /// Runs until the job is removed.
    pub(super) async fn run(mut self) {
        let mut statuses = self.shared.supervisor.subscribe();
        loop {
            if self.obey() {
                return;
            }
            self.step().await;
            self.show();
            tokio::select! {
                changed = self.wish.changed() => if changed.is_err() { return },
                _ = statuses.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Takes the latest wish; true once the job is to be forgotten.
    fn obey(&mut self) -> bool {
        let wish = self.wish.borrow_and_update().clone();
        self.settings = wish.settings;
        if wish.want == Want::Remove {
            // Its end is nobody's business any more.
            let _ = self.shared.supervisor.remove(&self.settings.name);
            return true;
        }
        if wish.turn == self.turn {
            return false;
        }
        self.turn = wish.turn;
        let asked = if wish.want == Want::Stop { Asked::Stop } else { Asked::Restart };
        if asked == Asked::Restart {
            (self.unreadable, self.due_ms) = (None, 0);
            self.record.counted.clear();
            self.record.end = None;
        }
        match &mut self.run {
            Some(run) => {
                run.asked = Some(asked);
                self.stop(self.settings.stop_grace);
            }
            None if asked == Asked::Stop && self.record.end.is_none() => {
                self.end(JobStage::Stopped, "stopped by a person")
            }
            None => self.why = "started by a person".into(),
        }
        false
    }

    fn stop(&self, grace: Duration) {
        // One that has ended meanwhile need not be stopped.
        let _ = self.shared.supervisor.stop_within(&self.settings.name, grace);
    }

    fn end(&mut self, stage: JobStage, why: &str) {
        tracing::info!(job = self.settings.name, stage = stage.label(), why, "a job ended");
        self.why = why.to_owned();
        self.record.end = Some((stage, why.to_owned()));
    }

    async fn step(&mut self) {
        let now = clock::unix_millis();
        if self.unreadable.is_some() {
            return;
        }
        match (&self.run, &self.record.end) {
            (None, None) if now >= self.due_ms => self.start(now).await,
            (None, Some(_)) => self.save().await,
            (None, None) => {}
            (Some(_), _) => self.follow(now).await,
        }
    }

    async fn start(&mut self, now: u64) {
        let good = self.good().await;
        let from = good.as_ref().map_or(String::new(), |manifest| manifest.name.clone());
        let known: Vec<String> = self.record.checkpoints.iter().map(|m| m.name.clone()).collect();
        let watch = match self.settings.checkpoint.clone() {
            Some(settings) => {
                blocking(move || Watch::begin(&settings, &known)).await.unwrap_or_default()
            }
            None => Watch::default(),
        };
        let supervisor = &self.shared.supervisor;
        let before = self.status().map_or(0, |status| status.incarnation);
        let spec = self.spec(&from);
        if let Err(error) = supervisor.launch(spec) {
            self.end(JobStage::GivenUp, &error.to_string());
            return;
        }
        self.record.starts += 1;
        self.why = match from.as_str() {
            "" => "from the beginning".into(),
            name => format!("from checkpoint {name}"),
        };
        tracing::info!(job = self.settings.name, from, "a job is started");
        self.run = Some(Run {
            incarnation: before + 1,
            started_ms: now,
            from,
            moved_ms: now,
            printed_ms: now,
            output: (0, None),
            progress: None,
            watch,
            asked: None,
        });
        self.save().await;
    }

    /// The newest checkpoint that is as it was written. Later ones are forgotten: what goes
    /// on from here writes them anew.
    async fn good(&mut self) -> Option<Manifest> {
        let dir = self.settings.checkpoint.as_ref()?.dir.clone();
        while let Some(last) = self.record.last().cloned() {
            let (dir, manifest) = (dir.clone(), last.clone());
            let there = dir.join(&last.name).exists();
            match blocking(move || manifest.verify(&dir)).await {
                Some(Ok(())) => return Some(last),
                Some(Err(why)) if there => {
                    let (job, checkpoint) = (&self.settings.name, &last.name);
                    tracing::error!(job, checkpoint, why, "a checkpoint is broken; the one before");
                    self.record.broke(&last.name);
                }
                // The job itself has cleared it away.
                _ => {}
            }
            self.record.checkpoints.pop();
        }
        None
    }

    fn spec(&self, from: &str) -> InstanceSpec {
        let settings = &self.settings;
        let path = match (&settings.checkpoint, from) {
            (None, _) | (_, "") => String::new(),
            (Some(checkpoint), name) => checkpoint.dir.join(name).display().to_string(),
        };
        let fill = |text: &String| text.replace("{checkpoint}", &path);
        let mut env: std::collections::BTreeMap<String, String> =
            settings.env.iter().map(|(key, value)| (key.clone(), fill(value))).collect();
        env.insert("EVENKEEL_JOB".into(), settings.name.clone());
        env.insert("EVENKEEL_CHECKPOINT".into(), path.clone());
        InstanceSpec {
            command: settings.command.iter().map(fill).collect(),
            env,
            cwd: settings.cwd.clone(),
            user: settings.user.clone(),
            startup_deadline: ENDLESS,
            stop_grace: settings.stop_grace,
            log: settings.log.clone(),
            once: true,
            ..InstanceSpec::new(&settings.name, "", &[])
        }
    }

    fn status(&self) -> Option<InstanceStatus> {
        let all = self.shared.supervisor.statuses();
        all.into_iter().find(|status| status.name == self.settings.name)
    }

    /// Looks at a run: what it has written, whether it hangs, whether it has ended.
    async fn follow(&mut self, now: u64) {
        let Some(status) = self.status() else { return };
        let Some(run) = &mut self.run else { return };
        if status.incarnation < run.incarnation {
            return;
        }
        run.hear(&self.settings, &status, now);
        let over = matches!(status.phase, Phase::Stopped | Phase::Failed { .. });
        let done = over && status.last_code == Some(0) && run.asked.is_none();
        self.look(At { now_ms: now, moved_ms: 0, done }).await;
        if over {
            return self.ended(&status, done, now).await;
        }
        let Some(run) = &mut self.run else { return };
        if run.asked.is_none() && plan::hangs(&self.settings, run.moved_ms, now) {
            let after = self.settings.hang_after.unwrap_or_default();
            let why = format!("hung: did not move for {}", humantime::format_duration(after));
            tracing::warn!(job = self.settings.name, why, "a job is killed");
            run.asked = Some(Asked::Hung(why));
            self.stop(self.settings.stop_grace.min(HUNG_GRACE));
        }
    }

    async fn look(&mut self, at: At) {
        let Some(settings) = self.settings.checkpoint.clone() else { return };
        let Some(run) = &mut self.run else { return };
        let at = At { moved_ms: run.printed_ms, ..at };
        let good: Vec<String> = self.record.checkpoints.iter().map(|m| m.name.clone()).collect();
        let mut watch = std::mem::take(&mut run.watch);
        let looked = blocking(move || {
            let found = watch.look(&settings, &good, at);
            (watch, found)
        });
        let Some((watch, found)) = looked.await else { return };
        let Found { whole, written } = found;
        run.watch = watch;
        if written || !whole.is_empty() {
            run.moved_ms = at.now_ms;
        }
        if whole.is_empty() {
            return;
        }
        for manifest in whole {
            self.record.keep(manifest);
        }
        self.save().await;
    }

    async fn ended(&mut self, status: &InstanceStatus, done: bool, now: u64) {
        let Some(run) = self.run.take() else { return };
        let how = match (&status.phase, &run.asked) {
            (_, Some(Asked::Hung(why))) => why.clone(),
            (Phase::Failed { message, .. }, _) => message.clone(),
            _ => status.last_exit.clone().unwrap_or_else(|| "ended".into()),
        };
        match run.asked {
            Some(Asked::Stop) => self.end(JobStage::Stopped, "stopped by a person"),
            Some(Asked::Restart) => self.due_ms = now,
            _ if done => self.end(JobStage::Done, &how),
            _ => self.failed(&run, how, now),
        }
        self.save().await;
    }

    fn failed(&mut self, run: &Run, how: String, now: u64) {
        let last = self.record.last();
        let failure = JobFailure {
            at_unix_ms: now,
            how: how.clone(),
            checkpoint: last.map_or(String::new(), |manifest| manifest.name.clone()),
            lost_ms: plan::lost(run.started_ms, last.map(|m| m.written_ms), now),
        };
        tracing::warn!(job = self.settings.name, how, lost_ms = failure.lost_ms, "a job failed");
        self.record.failed(failure);
        match plan::after(&self.settings, &self.record.counted, now) {
            Next::GiveUp(why) => self.end(JobStage::GivenUp, &why),
            Next::Again(wait) => {
                self.due_ms = now.saturating_add(plan::millis(wait));
                self.why = how;
            }
        }
    }

    async fn save(&mut self) {
        let (file, record) = (self.shared.file(&self.settings.name), self.record.clone());
        if self.shared.saved(&self.settings.name, &record) {
            return;
        }
        if let Some(Err(error)) = blocking(move || record.write(&file)).await {
            tracing::error!(job = self.settings.name, %error, "a job's record cannot be written");
            self.shared.unsaved(&self.settings.name);
        }
    }

    fn show(&self) {
        let (record, run) = (&self.record, self.run.as_ref());
        let process = self.status();
        let stage = match (&self.unreadable, run, &record.end) {
            (Some(_), ..) => JobStage::GivenUp,
            (_, Some(run), _) if run.asked.is_some() => JobStage::Stopping,
            (_, Some(_), _) => JobStage::Running,
            (_, None, Some((stage, _))) => stage.clone(),
            (_, None, None) => JobStage::Waiting,
        };
        let why = self.unreadable.as_ref().map(|error| {
            let file = self.shared.file(&self.settings.name);
            format!("{}: {error}; mend or remove it, then restart the job", file.display())
        });
        let last = record.last();
        let shown = record.counted.len().saturating_sub(SHOWN);
        self.shared.show(JobStatus {
            node: None,
            name: self.settings.name.clone(),
            stage,
            why: why.unwrap_or_else(|| self.why.clone()),
            pid: process.as_ref().and_then(|process| process.pid).filter(|_| run.is_some()),
            started_unix_ms: run.map(|run| run.started_ms),
            starts: record.starts,
            failures: record.failures,
            last_failures: record.counted.iter().skip(shown).cloned().collect(),
            checkpoint: last.map_or(String::new(), |manifest| manifest.name.clone()),
            checkpoint_unix_ms: last.map(|manifest| manifest.written_ms),
            from: run.map_or(String::new(), |run| run.from.clone()),
            broken: record.broken.clone(),
            lost_ms: record.lost_ms,
            progress: run.and_then(|run| run.progress.clone()),
            last_lines: process.map(|process| process.last_lines).unwrap_or_default(),
        });
    }
}

impl Run {
    /// What it printed, and whether that shows that it gets on.
    fn hear(&mut self, settings: &JobSettings, status: &InstanceStatus, now: u64) {
        let file = status.log.as_ref().and_then(|log: &PathBuf| std::fs::metadata(log).ok());
        let output = file.map_or((0, None), |meta| (meta.len(), meta.modified().ok()));
        let printed = output != self.output;
        self.output = output;
        if printed {
            self.printed_ms = now;
        }
        let told = status.progress != self.progress;
        self.progress.clone_from(&status.progress);
        let wanted =
            settings.checkpoint.as_ref().and_then(|c: &CheckpointSettings| c.progress.as_ref());
        let moves = match wanted {
            None => printed,
            Some(text) => told && self.progress.as_ref().is_some_and(|line| line.contains(text)),
        };
        if moves {
            self.moved_ms = now;
        }
    }
}

/// Runs what blocks where that is allowed; `None` if it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
