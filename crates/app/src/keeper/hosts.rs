//! All that runs replicas and jobs: this node's supervisor, and the agents of others.
//!
//! ```text
//!   keeper ─ specs, orders ─► Hosts ─┬─► Supervisor, Jobs     (this node)
//!          ◄─ statuses ──────────────┴─► Remote, Watch        (one for each [[node]])
//! ```
//! Without a `[[node]]` nothing of the second line exists.

mod nodes;

use evenkeel_agent::beat::{Heard, Watch};
use evenkeel_agent::{Remote, Term};
use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use evenkeel_domain::node::{NodeStatus, Presence};
use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, Orchestrator, OrchestratorError, Outdated,
};
use evenkeel_supervisor::{Supervisor, job::Jobs};
use nodes::Node;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// This node and all others.
pub(super) struct Hosts {
    pub(super) local: Supervisor,
    jobs: Jobs,
    state_dir: PathBuf,
    nodes: BTreeMap<String, Node>,
    /// Beats to them, once there was one.
    watch: Option<Watch>,
    /// Which start of the keeper this is, once there was one.
    term: Option<Term>,
    /// Where each instance was last meant to run.
    placed: BTreeMap<String, Option<String>>,
    /// What was last said of each node.
    presence: BTreeMap<String, Presence>,
    /// Rises when instances, jobs or connections have changed.
    changed: watch::Sender<u64>,
    /// Rises when beats say something else.
    beaten: watch::Sender<u64>,
}

impl Hosts {
    pub(super) fn new(local: Supervisor, jobs: Jobs, state_dir: PathBuf) -> Self {
        let (changed, beaten) = (watch::Sender::new(0), watch::Sender::new(0));
        follow(local.subscribe(), &changed);
        follow(jobs.subscribe(), &changed);
        Self {
            local,
            jobs,
            state_dir,
            nodes: BTreeMap::new(),
            watch: None,
            term: None,
            placed: BTreeMap::new(),
            presence: BTreeMap::new(),
            changed,
            beaten,
        }
    }

    /// Rises when instances, jobs or connections have changed.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Rises when beats say something else; once a second at least while there are nodes.
    pub(super) fn beaten(&self) -> watch::Receiver<u64> {
        self.beaten.subscribe()
    }

    /// Makes these the whole of what runs anywhere; what is ready goes on until it is
    /// restarted. What an agent says to it comes later: see [`Self::outdated`].
    pub(super) fn apply_in_turn(
        &mut self,
        specs: Vec<InstanceSpec>,
    ) -> Result<Outdated, OrchestratorError> {
        let placed = specs.iter().map(|s| (s.name.clone(), s.node.clone())).collect();
        let (local, remote): (Vec<_>, Vec<_>) = specs.into_iter().partition(|s| s.node.is_none());
        let outdated = self.local.apply_in_turn(local)?;
        self.placed = placed;
        let busy = remote.iter().filter_map(|spec| spec.node.clone()).collect();
        self.let_go(&busy);
        for (name, node) in &self.nodes {
            let theirs = remote.iter().filter(|s| s.node.as_ref() == Some(name)).cloned();
            node.remote.want(theirs.collect());
        }
        Ok(outdated)
    }

    /// What agents have said to be outdated.
    pub(super) fn outdated(&self) -> Outdated {
        self.nodes.values().flat_map(|node| node.remote.link().borrow().outdated.clone()).collect()
    }

    /// All instances, by name. One that moves is shown where it is meant to be.
    pub(super) fn statuses(&self) -> Vec<InstanceStatus> {
        let mut all: BTreeMap<String, InstanceStatus> = BTreeMap::new();
        let remote = self.nodes.values().map(|node| node.remote.subscribe().borrow().clone());
        for status in remote.chain([self.local.statuses()]).flatten() {
            let meant = self.placed.get(&status.name).is_none_or(|node| *node == status.node);
            if meant || !all.contains_key(&status.name) {
                all.insert(status.name.clone(), status);
            }
        }
        all.into_values().collect()
    }

    fn remote_of(&self, instance: &str) -> Option<&Arc<Remote>> {
        let node = self.placed.get(instance)?.as_ref()?;
        self.nodes.get(node).map(|node| &node.remote)
    }

    /// A probe has found this start ready.
    pub(super) fn mark_ready(&self, name: &str, incarnation: u64) {
        match self.remote_of(name) {
            Some(remote) => remote.note_ready(name, incarnation),
            // One that has ended meanwhile is none of our business any more.
            None => drop(self.local.mark_ready(name, incarnation)),
        }
    }

    /// Restarts an instance; an order that does not get through is said.
    pub(super) fn restart(&self, name: &str, grace: Option<Duration>) {
        let failed = |name: &str, error| tracing::warn!(replica = name, %error, "cannot restart");
        match self.remote_of(name).cloned() {
            Some(remote) => {
                let name = name.to_owned();
                tokio::spawn(async move {
                    if let Err(error) = remote.restart(&name, grace).await {
                        failed(&name, error);
                    }
                });
            }
            None => {
                if let Err(error) = self.local.restart(name, grace) {
                    failed(name, error);
                }
            }
        }
    }

    /// Starts or stops an instance. For another node the order is on its way when this returns;
    /// one that does not get through is said.
    pub(super) fn run(&self, name: &str, run: bool) -> Result<(), OrchestratorError> {
        let Some(remote) = self.remote_of(name).cloned() else {
            return if run { self.local.start(name) } else { self.local.stop(name) };
        };
        let name = name.to_owned();
        tokio::spawn(async move {
            let done = if run { remote.start(&name).await } else { remote.stop(&name).await };
            if let Err(error) = done {
                tracing::warn!(replica = name, run, %error, "the order did not get through");
            }
        });
        Ok(())
    }

    /// Makes these the whole of the jobs.
    pub(super) fn apply_jobs(&mut self, all: Vec<JobSettings>) {
        let (local, remote): (Vec<_>, Vec<_>) = all.into_iter().partition(|j| j.node.is_none());
        self.jobs.apply(local);
        for (name, node) in &self.nodes {
            let theirs = remote.iter().filter(|j| j.node.as_ref() == Some(name)).cloned();
            node.remote.want_jobs(theirs.collect());
        }
    }

    /// All jobs, by name.
    pub(super) fn job_statuses(&self) -> Vec<JobStatus> {
        let remote = self.nodes.values().flat_map(|node| node.remote.jobs().borrow().clone());
        let mut all: Vec<_> = self.jobs.statuses().into_iter().chain(remote).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// A person's order about a job; false where there is no such job.
    pub(super) fn order_job(&mut self, name: &str, order: JobOrder) -> bool {
        let theirs = |node: &&Node| node.remote.jobs().borrow().iter().any(|j| j.name == name);
        let Some(node) = self.nodes.values().find(theirs) else {
            return self.jobs.order(name, order);
        };
        let (remote, name) = (node.remote.clone(), name.to_owned());
        tokio::spawn(async move {
            if let Err(error) = remote.job(&name, order).await {
                tracing::warn!(job = name, %error, "the order did not get through");
            }
        });
        true
    }

    /// What is known of the nodes, by name.
    pub(super) fn node_statuses(&self) -> Vec<NodeStatus> {
        let heard = self.watch.as_ref().map(|watch| watch.subscribe().borrow().clone());
        let heard = heard.unwrap_or_default();
        let silent = Heard::default();
        let all = self.nodes.iter();
        all.map(|(name, node)| node.status(heard.get(name).unwrap_or(&silent))).collect()
    }

    /// The same, for beats that say something else: who comes or goes is logged.
    pub(super) fn beaten_statuses(&mut self) -> Vec<NodeStatus> {
        let all = self.node_statuses();
        for now in &all {
            let before = self.presence.insert(now.name.clone(), now.presence);
            if before == Some(now.presence) {
                continue;
            }
            let (node, state, phi) = (&now.name, now.presence.label(), now.phi);
            match now.presence {
                Presence::Cut | Presence::Silent => {
                    tracing::warn!(node, state, phi, seen_by = now.seen_by.join(" "), "node");
                }
                _ => tracing::info!(node, state, "node"),
            }
        }
        all
    }

    /// Ends everything everywhere.
    pub(super) async fn shutdown(&mut self, instances: Duration, jobs: Duration) {
        let mut stopping = JoinSet::new();
        for (name, node) in &self.nodes {
            let (name, remote) = (name.clone(), node.remote.clone());
            stopping.spawn(async move {
                if !remote.stop_all(instances.max(jobs)).await {
                    tracing::warn!(node = name, "it did not say that everything has ended there");
                }
            });
        }
        tokio::join!(self.local.shutdown(instances), self.jobs.shutdown(jobs), async {
            while stopping.join_next().await.is_some() {}
        });
    }
}

/// Has `to` rise with every change of `from`.
fn follow<T: Send + Sync + 'static>(
    mut from: watch::Receiver<T>,
    to: &watch::Sender<u64>,
) -> AbortHandle {
    let to = to.clone();
    let task = tokio::spawn(async move {
        while from.changed().await.is_ok() {
            to.send_modify(|number| *number += 1);
        }
    });
    task.abort_handle()
}
