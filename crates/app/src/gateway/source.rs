//! What the admin API shows of this gateway.

use super::accounts::Accounts;
use super::overrides::Overrides;
use super::slo::Account;
use super::standby::Standbys;
use crate::config::Config;
use evenkeel_admin::view::{
    BatchView, GatewayView, KeyView, OverrideView, ScaleView, SloView, StandbyView, TenantView,
};
use evenkeel_admin::{Follow, Source};
use evenkeel_domain::check::CheckStatus;
use evenkeel_domain::detour::Detours;
use evenkeel_domain::incident::Outlook;
use evenkeel_domain::job::JobStatus;
use evenkeel_domain::node::NodeStatus;
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::{Pool, Replica, clock};
use evenkeel_gateway::Shared;
use evenkeel_health::check::Checks;
use evenkeel_health::operator::Order;
use evenkeel_supervisor::logs;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

type Services = Vec<(Arc<ServiceSettings>, Arc<Pool>)>;

/// What the main thread knows, for whoever asks.
pub(super) struct GatewayState {
    pub(super) shared: Arc<Shared>,
    pub(super) state_dir: PathBuf,
    started_unix_ms: u64,
    generation: AtomicU64,
    refusal: Mutex<Option<String>>,
    services: Mutex<Services>,
    instances: Mutex<Vec<InstanceStatus>>,
    /// No members any more, but they may have something under way.
    departed: Mutex<Vec<Arc<Replica>>>,
    batch: Mutex<Option<BatchView>>,
    accounts: Mutex<Accounts>,
    /// Copies of scaled services that are meant to run; `None` until the keeper has told.
    sizes: Mutex<Option<BTreeMap<String, u32>>>,
    scales: Mutex<BTreeMap<String, ScaleView>>,
    jobs: Mutex<Vec<JobStatus>>,
    nodes: Mutex<Vec<NodeStatus>>,
    checks: OnceLock<Arc<Checks>>,
    /// Limits ahead, by whom they are about.
    outlooks: Mutex<BTreeMap<String, Outlook>>,
    standbys: OnceLock<Arc<Standbys>>,
    /// Other ways to replicas, which drills hold.
    pub(super) detours: Detours,
    account: OnceLock<Arc<Account>>,
}

impl GatewayState {
    pub(super) fn new(shared: Arc<Shared>, state_dir: PathBuf) -> Self {
        Self {
            shared,
            state_dir,
            started_unix_ms: clock::unix_millis(),
            generation: AtomicU64::new(0),
            refusal: Mutex::default(),
            services: Mutex::default(),
            instances: Mutex::default(),
            departed: Mutex::default(),
            batch: Mutex::default(),
            accounts: Mutex::default(),
            sizes: Mutex::default(),
            scales: Mutex::default(),
            jobs: Mutex::default(),
            nodes: Mutex::default(),
            checks: OnceLock::new(),
            outlooks: Mutex::default(),
            standbys: OnceLock::new(),
            detours: Detours::default(),
            account: OnceLock::new(),
        }
    }

    /// These are looked at; once.
    pub(super) fn set_checks(&self, checks: Arc<Checks>) {
        let _ = self.checks.set(checks);
    }

    /// These stand by; once.
    pub(super) fn set_standbys(&self, standbys: Arc<Standbys>) {
        let _ = self.standbys.set(standbys);
    }

    /// This account of availability is kept; once.
    pub(super) fn set_account(&self, account: Arc<Account>) {
        let _ = self.account.set(account);
    }

    /// Where all checks stand.
    pub(super) fn checks(&self) -> Vec<CheckStatus> {
        self.checks.get().map(|c| c.statuses()).unwrap_or_default()
    }

    /// Limits ahead, by whom they are about.
    pub(super) fn set_outlooks(&self, all: BTreeMap<String, Outlook>) {
        *self.outlooks.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Limits ahead, by whom they are about.
    pub(super) fn outlooks(&self) -> BTreeMap<String, Outlook> {
        self.outlooks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What stands by.
    pub(super) fn standbys(&self) -> Option<&Arc<Standbys>> {
        self.standbys.get()
    }

    /// What a configuration wants looked at.
    pub(super) fn configure_checks(&self, config: &Config) {
        if let Some(checks) = self.checks.get() {
            checks.configure(crate::config::all_checks(config));
        }
    }

    /// A configuration is in force.
    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A configuration was refused.
    pub(super) fn set_refusal(&self, why: &str) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Why the last configuration was refused.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_services(&self, services: Services) {
        *self.services.lock().unwrap_or_else(PoisonError::into_inner) = services;
    }

    pub(super) fn set_instances(&self, instances: Vec<InstanceStatus>) {
        *self.instances.lock().unwrap_or_else(PoisonError::into_inner) = instances;
    }

    /// Who may ask.
    pub(super) fn set_accounts(&self, accounts: Accounts) {
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    fn accounts(&self) -> Accounts {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What jobs do.
    pub(super) fn set_jobs(&self, jobs: Vec<JobStatus>) {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = jobs;
    }

    /// What jobs do.
    pub(super) fn jobs(&self) -> Vec<JobStatus> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which nodes are there.
    pub(super) fn set_nodes(&self, nodes: Vec<NodeStatus>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Which nodes are there.
    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Instances on nodes that no order reaches.
    pub(super) fn unreached(&self) -> BTreeSet<String> {
        let nodes = self.nodes();
        let reached = |node: &String| {
            let known = nodes.iter().find(|status| status.name == *node);
            known.is_some_and(|status| status.connected && status.presence.is_reached())
        };
        let all = self.instances().into_iter();
        let cut = all.filter(|s| s.node.as_ref().is_some_and(|node| !reached(node)));
        cut.map(|status| status.name).collect()
    }

    /// The node that an instance or job runs on, where that is another one.
    pub(super) fn node_of(&self, name: &str) -> Option<NodeStatus> {
        let instances = self.instances();
        let node = instances.into_iter().find(|status| status.name == name).and_then(|s| s.node);
        let node = node.or_else(|| self.jobs().into_iter().find(|job| job.name == name)?.node)?;
        self.nodes().into_iter().find(|status| status.name == node)
    }

    /// How many copies of scaled services are meant to run.
    pub(super) fn set_sizes(&self, sizes: BTreeMap<String, u32>) {
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = Some(sizes);
    }

    /// The same, once the keeper has told.
    pub(super) fn sizes(&self) -> Option<BTreeMap<String, u32>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is said of one of them.
    pub(super) fn scale_of(&self, service: &str) -> Option<ScaleView> {
        let scales = self.scales.lock().unwrap_or_else(PoisonError::into_inner);
        scales.get(service).cloned()
    }

    /// What is said of them.
    pub(super) fn set_scales(&self, scales: BTreeMap<String, ScaleView>) {
        *self.scales.lock().unwrap_or_else(PoisonError::into_inner) = scales;
    }

    /// What batches do.
    pub(super) fn set_batch(&self, view: BatchView) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    pub(super) fn services(&self) -> Services {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn instances(&self) -> Vec<InstanceStatus> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl GatewayState {
    /// The member of this name.
    pub(super) fn member(&self, name: &str) -> Option<Arc<Replica>> {
        self.member_of(name).map(|(replica, _)| replica)
    }

    /// The same, with the pool that it is in.
    pub(super) fn member_of(&self, name: &str) -> Option<(Arc<Replica>, Arc<Pool>)> {
        self.services().iter().find_map(|(_, pool)| {
            let member = pool.members().iter().find(|r| *r.id.name == *name).cloned();
            Some((member?, pool.clone()))
        })
    }

    /// The start of a supervised replica's process that the keeper last told of.
    pub(super) fn start_of(&self, name: &str) -> Option<u64> {
        self.instances().iter().find(|status| status.name == name).map(|s| s.incarnation)
    }

    /// These are no members any more.
    pub(super) fn depart(&self, gone: impl IntoIterator<Item = Arc<Replica>>) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.retain(|replica| replica.live.in_flight() > 0);
        departed.extend(gone);
    }

    /// Waits until nothing is under way on the replica of this name: neither on the member,
    /// nor on one that was described otherwise and is the same process.
    pub(super) async fn idle(&self, name: &str) {
        let mut all: Vec<_> = self.member(name).into_iter().collect();
        {
            let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(departed.iter().filter(|r| *r.id.name == *name).cloned());
        }
        for replica in all {
            replica.live.until(|live| live.in_flight() == 0).await;
        }
    }
}

/// The admin API's view.
pub(super) struct GatewaySource {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
}

impl GatewaySource {
    pub(super) fn new(state: Arc<GatewayState>, overrides: Arc<Overrides>) -> Self {
        Self { state, overrides }
    }

    fn log_of(&self, replica: &str) -> io::Result<PathBuf> {
        self.log_path(replica).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{replica} is not supervised here"))
        })
    }
}

impl Source for GatewaySource {
    fn services(&self) -> Services {
        self.state.services()
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        self.state.instances()
    }

    fn overrides(&self) -> Vec<OverrideView> {
        let view = |o: evenkeel_health::operator::Override| OverrideView {
            replica: o.replica,
            order: match o.order {
                Order::Drain => "drain".into(),
                Order::Isolate => "isolate".into(),
            },
            owner: o.owner,
            until_unix_ms: o.until_unix_ms,
        };
        self.overrides.all().into_iter().map(view).collect()
    }

    fn gateway(&self) -> GatewayView {
        let shared = &self.state.shared;
        let refusal = self.state.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        GatewayView {
            pid: std::process::id(),
            started_unix_ms: self.state.started_unix_ms,
            draining: *shared.draining.borrow(),
            connections: shared.connections.load(Relaxed) as u64,
            memory_used_bytes: shared.memory.used(),
            memory_limit_bytes: shared.settings.limits.memory,
            rejected: shared.rejected.load(Relaxed),
            signals_dropped: shared.signals_dropped.load(Relaxed),
            access_lines_lost: shared.access.as_ref().map_or(0, |log| log.lost()),
            spans_lost: shared.trace.as_ref().map_or(0, |tracer| tracer.lost()),
            config_generation: self.state.generation.load(Relaxed),
            reload_error: refusal,
        }
    }

    fn batch(&self) -> Option<BatchView> {
        self.state.batch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.state.jobs()
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        self.state.nodes()
    }

    fn checks(&self) -> Vec<CheckStatus> {
        self.state.checks()
    }

    fn scales(&self) -> BTreeMap<String, ScaleView> {
        self.state.scales.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn standbys(&self) -> BTreeMap<String, StandbyView> {
        self.state.standbys().map(|standbys| standbys.views()).unwrap_or_default()
    }

    fn slo(&self) -> Option<SloView> {
        self.state.account.get().map(|account| account.view())
    }

    fn keys(&self) -> Vec<KeyView> {
        self.state.accounts().key_views()
    }

    fn tenants(&self) -> Vec<TenantView> {
        self.state.accounts().tenant_views()
    }

    fn log_path(&self, replica: &str) -> Option<PathBuf> {
        if self.state.jobs().iter().any(|job| job.name == replica) {
            return Some(logs::log_path(&self.state.state_dir.join("jobs/logs"), replica));
        }
        let known = self.state.instances().iter().any(|s| s.name == replica);
        known.then(|| logs::log_path(&self.state.state_dir.join("logs"), replica))
    }

    fn tail(&self, replica: &str, n: usize) -> io::Result<Vec<String>> {
        if let Some(node) = self.state.node_of(replica) {
            let dir = &self.state.state_dir;
            return evenkeel_agent::log::tail(dir, &node.name, &node.address, replica, n);
        }
        logs::tail(&self.log_of(replica)?, n)
    }

    fn follow(&self, replica: &str) -> io::Result<Follow> {
        if let Some(node) = self.state.node_of(replica) {
            let dir = &self.state.state_dir;
            return evenkeel_agent::log::follow(dir, &node.name, &node.address, replica);
        }
        let mut follower = logs::Follower::new(&self.log_of(replica)?)?;
        Ok(Box::new(move || follower.poll()))
    }
}
