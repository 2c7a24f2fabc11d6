//! What the gateway's main thread does once it serves: it listens to the keeper.

use super::alerts::Alerts;
use super::control::GatewayControl;
use super::forecast::Forecasts;
use super::recovery::Recovery;
use super::roster::Roster;
use super::scale::Scaling;
use super::source::GatewayState;
use super::{Failure, Workers};
use crate::config::Sources;
use crate::link::{Reader, ToGateway, ToKeeper};
use evenkeel_domain::Health;
use evenkeel_domain::event::{EventKind, EventLog};
use evenkeel_domain::job::JobStatus;
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_gateway::Shared;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How often the keeper hears that we live.
const ALIVE: Duration = Duration::from_secs(1);

/// The main thread's loop.
pub(super) struct Main {
    pub(super) shared: Arc<Shared>,
    pub(super) events: Arc<EventLog>,
    pub(super) state: Arc<GatewayState>,
    pub(super) roster: Roster,
    pub(super) to_keeper: mpsc::Sender<ToKeeper>,
    pub(super) workers: Workers,
    /// How long answers under way may take to end.
    pub(super) drain: Duration,
    /// When they must have, once this gateway drains.
    pub(super) drained_by: Option<Instant>,
    /// Starts reported as ready, with the key of the replica: one that has moved to another node
    /// counts its starts anew.
    pub(super) marked: HashMap<String, (u64, u64)>,
    /// One for each replica that the keeper wants to stop: tells it when that is idle.
    pub(super) idling: JoinSet<()>,
    /// Carries orders out.
    pub(super) control: GatewayControl,
    /// Heals; told of each configuration.
    pub(super) recovery: Arc<Recovery>,
    /// Says how many copies run; told of each configuration.
    pub(super) scaling: Arc<Scaling>,
    /// Acts before limits are reached; told of each configuration.
    pub(super) forecasts: Arc<Forecasts>,
    /// Tells people; told of each configuration.
    pub(super) alerts: Arc<Alerts>,
    /// Set when operators are to be answered by another gateway.
    pub(super) admin_ends: watch::Sender<bool>,
}

impl Main {
    /// Runs until drained, or until the keeper is gone.
    pub(super) async fn run(mut self, mut reader: Reader) -> Result<(), Failure> {
        let mut alive = tokio::time::interval(ALIVE);
        let mut happened = self.events.watch();
        loop {
            tokio::select! {
                message = reader.next::<ToGateway>() => match message? {
                    // The keeper is gone, and with it all that we stand in front of.
                    None => return Err("the keeper is gone".into()),
                    Some(message) => self.on_message(message).await,
                },
                _ = happened.changed() => self.report_ready(),
                () = self.roster.discovered() => self.roster.refill().await,
                _ = alive.tick() => {
                    let _ = self.to_keeper.try_send(ToKeeper::Alive);
                }
                _ = self.workers.recv(), if self.drained_by.is_some() => return Ok(()),
                () = time_is_up(self.drained_by) => {
                    tracing::warn!(limit = ?self.drain, "answers under way did not end in time");
                    return Ok(());
                }
            }
        }
    }

    async fn on_message(&mut self, message: ToGateway) {
        match message {
            ToGateway::Config { path, sources, generation } => {
                self.reload(path, &sources, generation).await;
            }
            ToGateway::Refused { why } => self.refused(why),
            ToGateway::Instances(statuses) => self.instances(statuses).await,
            ToGateway::Renew { outdated } => self.control.renew(outdated),
            ToGateway::Retire { leaving } => self.retire(leaving).await,
            ToGateway::Jobs(jobs) => self.jobs(jobs),
            ToGateway::Nodes(nodes) => {
                self.state.set_nodes(nodes.clone());
                self.roster.nodes(nodes).await;
            }
            ToGateway::Sizes(sizes) => self.state.set_sizes(sizes),
            ToGateway::Drain { replaced } => self.begin_drain(replaced),
        }
    }

    async fn reload(&mut self, path: PathBuf, sources: &Sources, generation: u64) {
        let result = match sources.parse(&path) {
            Ok(config) => {
                let taken = self.roster.configure(&config).await;
                let told = taken.inspect(|()| {
                    self.recovery.configure(&config);
                    self.scaling.configure(&config);
                    self.forecasts.configure(&config);
                    self.alerts.configure(&config);
                    if let Some(standbys) = self.state.standbys() {
                        standbys.configure(&config);
                    }
                    self.state.configure_checks(&config);
                });
                told.map_err(|e| e.to_string())
            }
            Err(errors) => Err(errors.to_string()),
        };
        match result {
            Ok(()) => {
                self.state.set_generation(generation);
                self.events.push(EventKind::Reloaded);
            }
            Err(why) => self.refused(why),
        }
    }

    fn refused(&self, why: String) {
        self.state.set_refusal(&why);
        self.events.push(EventKind::ReloadRefused { why });
    }

    async fn instances(&mut self, statuses: Vec<InstanceStatus>) {
        self.state.set_instances(statuses.clone());
        self.roster.instances(statuses).await;
    }

    /// Takes what jobs do; what has happened to one is an event.
    fn jobs(&self, jobs: Vec<JobStatus>) {
        let before = self.state.jobs();
        for job in &jobs {
            let known = before.iter().find(|known| known.name == job.name);
            let Some(known) = known else { continue };
            if (&known.stage, known.failures) == (&job.stage, job.failures) {
                continue;
            }
            let (from, to) = (known.stage.label().into(), job.stage.label().into());
            let (job, why) = (job.name.clone(), job.why.clone());
            self.events.push(EventKind::Job { job, from, to, why });
        }
        self.state.set_jobs(jobs);
    }

    /// Tells the keeper which supervised replicas answer.
    fn report_ready(&mut self) {
        for (name, start, health) in self.roster.supervised() {
            let answers = matches!(health, Health::Healthy | Health::Probation);
            if answers && self.marked.get(&name) != Some(&start) {
                let message = ToKeeper::MarkReady { name: name.clone(), incarnation: start.1 };
                if self.to_keeper.try_send(message).is_ok() {
                    self.marked.insert(name, start);
                }
            }
        }
    }

    /// Gives nothing new to replicas that are to be stopped, and tells when each is idle.
    async fn retire(&mut self, leaving: Vec<(String, u64)>) {
        self.roster.retire(leaving.iter().map(|(name, _)| name.clone())).await;
        // Each list is whole: nobody waits any more for what only an earlier one had.
        self.idling = JoinSet::new();
        for (name, incarnation) in leaving {
            let (state, to_keeper) = (self.state.clone(), self.to_keeper.clone());
            self.idling.spawn(async move {
                state.idle(&name).await;
                // Without a keeper this process ends, too.
                let _ = to_keeper.send(ToKeeper::Idle { name, incarnation }).await;
            });
        }
    }

    /// Stops accepting; the end comes when the workers have finished, or with the limit.
    fn begin_drain(&mut self, replaced: bool) {
        if self.drained_by.is_some() {
            return;
        }
        self.admin_ends.send_replace(replaced);
        self.events.push(EventKind::Draining);
        self.drained_by = Some(Instant::now() + self.drain);
        self.shared.draining.send_replace(true);
    }
}

/// Ends with the time of a drain; never without one.
async fn time_is_up(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
