//! Who is a replica of what, right now: from the configuration, from what the keeper runs,
//! from names and files that are looked up again and again.
//!
//! A replica whose description did not change keeps its identity, its counters and its
//! health across every reload.

use super::accounts::Accounts;
use super::discover::Found;
use super::nodes;
use super::source::GatewayState;
use crate::config::{self, Config, ReplicaConfig, ServiceConfig, replicas};
use evenkeel_domain::node::{NodeSettings, NodeStatus};
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::{Endpoint, Health, Incarnation, Pool, Replica, Signal, SignalKind, clock};
use evenkeel_gateway::{Shared, Table, Within};
use evenkeel_health::AuthorityHandle;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Keeps pools in step with the world.
pub(super) struct Roster {
    shared: Arc<Shared>,
    authority: AuthorityHandle,
    state: Arc<GatewayState>,
    config: Vec<ServiceConfig>,
    hosts: Vec<NodeSettings>,
    nodes: Vec<NodeStatus>,
    pools: HashMap<String, Arc<Pool>>,
    settings: HashMap<String, Arc<ServiceSettings>>,
    /// By what they are described by.
    known: HashMap<String, Arc<Replica>>,
    next_key: u64,
    instances: Vec<InstanceStatus>,
    /// Supervised replicas that the keeper is about to stop.
    retired: BTreeSet<String>,
    /// What each instance was last seen doing: incarnation and whether it ran.
    seen: HashMap<String, (u64, bool)>,
    found: Found,
    /// Who may ask, and on whose account.
    accounts: Accounts,
    /// What this process serves itself.
    within: Option<Within>,
}

impl Roster {
    pub(super) fn new(
        shared: Arc<Shared>,
        authority: AuthorityHandle,
        state: Arc<GatewayState>,
        within: Option<Within>,
    ) -> Self {
        Self {
            shared,
            authority,
            state,
            config: Vec::new(),
            hosts: Vec::new(),
            nodes: Vec::new(),
            pools: HashMap::new(),
            settings: HashMap::new(),
            known: HashMap::new(),
            next_key: 1,
            instances: Vec::new(),
            retired: BTreeSet::new(),
            seen: HashMap::new(),
            found: Found::default(),
            accounts: Accounts::default(),
            within,
        }
    }

    /// Takes a configuration: builds its table and members, then swaps.
    pub(super) async fn configure(&mut self, config: &Config) -> Result<(), String> {
        let mut services = Vec::new();
        let mut pools = HashMap::new();
        let mut all_settings = HashMap::new();
        for service in &config.service {
            let name = service.name.clone();
            let pool = self.pools.get(&name).cloned();
            let pool = pool.unwrap_or_else(|| Arc::new(Pool::new(name.as_str().into())));
            let settings = config::settings(config, service);
            services.push((settings.clone(), pool.clone(), service.routes()));
            all_settings.insert(name.clone(), Arc::new(settings));
            pools.insert(name, pool);
        }
        let table = Table::build(services).map_err(|e| e.to_string())?.with(self.within.clone());
        let accounts = self.accounts.renewed(config);
        let table = table.for_keys(accounts.keys());
        let gone: Vec<_> = self
            .pools
            .iter()
            .filter(|(n, _)| !pools.contains_key(*n))
            .map(|(_, p)| p.clone())
            .collect();
        self.config.clone_from(&config.service);
        self.hosts.clone_from(&config.node);
        self.pools = pools;
        let old_settings = std::mem::replace(&mut self.settings, all_settings);
        self.retired.clear();
        self.found.follow(&self.config);
        self.fill().await?;
        self.shared.table.store(Arc::new(table));
        self.state.set_accounts(accounts.clone());
        self.accounts = accounts;
        for pool in gone {
            pool.set_members(Vec::new());
            if let Some(settings) = old_settings.get(&*pool.name) {
                self.authority.members(settings.clone(), pool).await;
            }
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let services = self.config.iter().filter_map(|s| {
            Some((self.settings.get(&s.name)?.clone(), self.pools.get(&s.name)?.clone()))
        });
        self.state.set_services(services.collect());
    }

    /// Waits for a name or file to change. May be dropped while it waits.
    pub(super) async fn discovered(&mut self) {
        self.found.changed().await;
    }

    /// Takes what was discovered.
    pub(super) async fn refill(&mut self) {
        if let Err(error) = self.fill().await {
            tracing::warn!(error, "the new set of replicas cannot be used");
        }
    }

    /// Gives nothing new to these, whatever the configuration here says: the keeper has a
    /// newer one.
    pub(super) async fn retire(&mut self, names: impl Iterator<Item = String>) {
        let before = std::mem::replace(&mut self.retired, names.collect());
        // One that is wanted again meanwhile is a member again.
        if before != self.retired {
            self.refill().await;
        }
    }

    /// Takes what the keeper says of its processes.
    pub(super) async fn instances(&mut self, statuses: Vec<InstanceStatus>) {
        let ports = |all: &[InstanceStatus]| -> Vec<(String, Option<String>, Option<u16>)> {
            all.iter().map(|s| (s.name.clone(), s.node.clone(), s.port)).collect()
        };
        let moved = ports(&self.instances) != ports(&statuses);
        self.instances = statuses;
        if moved && let Err(error) = self.fill().await {
            tracing::warn!(error, "supervised replicas cannot be used");
        }
        self.signal_instances().await;
    }

    /// Starts and ends of processes, as signals.
    async fn signal_instances(&mut self) {
        let now = clock::now();
        for status in &self.instances {
            let Some(replica) = self.known.values().find(|r| *r.id.name == status.name) else {
                continue;
            };
            let running = status.phase.is_running();
            let before = self.seen.insert(status.name.clone(), (status.incarnation, running));
            let fresh = before.is_none_or(|(incarnation, _)| incarnation != status.incarnation);
            let ended = !running && before.is_none_or(|(_, ran)| ran || fresh);
            let signal = |kind| Signal {
                replica: replica.id.key,
                incarnation: Incarnation(status.incarnation),
                observer: "keeper",
                at: now,
                kind,
            };
            let signals = self.authority.signals();
            if fresh {
                // The authority outlives every sender.
                let _ = signals.send(signal(SignalKind::Started)).await;
            }
            if ended {
                let how = status.last_exit.clone().unwrap_or_else(|| status.phase.label().into());
                let _ = signals.send(signal(SignalKind::Exited(how.into()))).await;
            }
        }
    }

    /// Takes what beats say, and tells it of the replicas of each node. Said again each time:
    /// a replica that is new does not know of it.
    pub(super) async fn nodes(&mut self, nodes: Vec<NodeStatus>) {
        self.nodes = nodes;
        let at = clock::now();
        for node in &self.nodes {
            let against = nodes::against(node);
            let theirs = self.instances.iter().filter(|s| s.node.as_ref() == Some(&node.name));
            let all = self.known.values().filter(|r| r.id.supervised);
            let names: BTreeSet<&str> = theirs.map(|status| &*status.name).collect();
            for replica in all.filter(|replica| names.contains(&*replica.id.name)) {
                let kind =
                    SignalKind::Node { name: node.name.as_str().into(), against: against.clone() };
                let (key, incarnation) = (replica.id.key, replica.live.incarnation());
                let signal = Signal { replica: key, incarnation, observer: "keeper", at, kind };
                // The authority outlives every sender.
                let _ = self.authority.signals().send(signal).await;
            }
        }
    }

    /// The supervised replicas with their key, the start that is under way and their state.
    pub(super) fn supervised(&self) -> Vec<(String, (u64, u64), Health)> {
        let all = self.known.values().filter(|r| r.id.supervised);
        let start = |r: &Replica| (r.id.key, r.live.incarnation().0);
        all.map(|r| (r.id.name.to_string(), start(r), r.live.health())).collect()
    }

    /// Fills every pool with its members of now.
    async fn fill(&mut self) -> Result<(), String> {
        let mut described = HashMap::new();
        let services = self.config.clone();
        for service in &services {
            let mut members = Vec::new();
            for (first, replica) in replicas::numbered(service) {
                for place in self.places(service, replica, first) {
                    let text = described_as(&place, replica);
                    let found = match self.known.get(&text) {
                        Some(known) => known.clone(),
                        None => self.make(service, replica, place)?,
                    };
                    described.insert(text, found.clone());
                    members.push(found);
                }
            }
            let (Some(pool), Some(settings)) =
                (self.pools.get(&service.name), self.settings.get(&service.name))
            else {
                continue;
            };
            pool.set_members(members);
            self.authority.members(settings.clone(), pool.clone()).await;
        }
        let before = std::mem::replace(&mut self.known, described);
        let gone = before.into_iter().filter(|(text, _)| !self.known.contains_key(text));
        self.state.depart(gone.map(|(_, replica)| replica));
        self.seen.retain(|name, _| self.known.values().any(|r| *r.id.name == **name));
        self.signal_instances().await;
        Ok(())
    }

    /// Where the copies of one entry are.
    fn places(&self, service: &ServiceConfig, replica: &ReplicaConfig, first: u32) -> Vec<Place> {
        if let Some(url) = &replica.url {
            let Ok(endpoint) = url.parse::<Endpoint>() else { return Vec::new() };
            let host = endpoint.host.to_string();
            return vec![Place { name: format!("{}-{first}", service.name), endpoint, host }];
        }
        if replica.command.is_some() {
            let names = (0..replicas::numbers(service, replica))
                .map(|c| format!("{}-{}", service.name, first + c));
            return names
                .filter(|name| !self.retired.contains(name))
                .filter_map(|name| {
                    let status = self.instances.iter().find(|s| s.name == name)?;
                    self.supervised_at(name, status, replica)
                })
                .collect();
        }
        self.found
            .places(replica)
            .into_iter()
            .map(|(endpoint, host)| {
                let name = format!("{}-{}:{}", service.name, endpoint.host, endpoint.port);
                Place { name, endpoint, host }
            })
            .collect()
    }

    /// Where a process is reached; nowhere while it is not yet where it is meant to be.
    fn supervised_at(
        &self,
        name: String,
        status: &InstanceStatus,
        replica: &ReplicaConfig,
    ) -> Option<Place> {
        if status.node != replica.node {
            return None;
        }
        let Some(node) = &status.node else {
            let endpoint = Endpoint::loopback(status.port?);
            return Some(Place { name, endpoint, host: "127.0.0.1".into() });
        };
        let host = self.hosts.iter().find(|known| known.name == *node)?.replica_host();
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let endpoint = format!("http://{bracketed}:{}", status.port?).parse().ok()?;
        Some(Place { name, endpoint, host: host.to_owned() })
    }

    fn make(
        &mut self,
        service: &ServiceConfig,
        replica: &ReplicaConfig,
        place: Place,
    ) -> Result<Arc<Replica>, String> {
        let key = self.next_key;
        self.next_key += 1;
        // Which start of its process it is must be told anew.
        self.seen.remove(&place.name);
        let named = |e: String| format!("replica {}: {e}", place.name);
        let way = self.state.detours.of(&place.name);
        let dial = replicas::dialer(replica, &place.endpoint, &place.host, way).map_err(named)?;
        let headers = replicas::own_headers(replica).map_err(named)?;
        Ok(Arc::new(Replica::new(Identity {
            key,
            name_hash: name_hash(&place.name),
            name: place.name.into(),
            service: service.name.as_str().into(),
            endpoint: place.endpoint,
            revision: replica.revision.as_str().into(),
            weight: replica.weight.unwrap_or(1.0),
            max_in_flight: replica.max_in_flight,
            headers,
            h2: replica.h2,
            model: replica.model.as_deref().map(Into::into),
            supervised: replica.command.is_some(),
            startup_deadline: replicas::first_answer(replica),
            standby: config::standby::of(replica),
            dial,
        })))
    }
}

/// All that makes a replica another one for the gateway. How its process is run does not:
/// its health and what it has under way are those of before.
fn described_as(place: &Place, replica: &ReplicaConfig) -> String {
    let seen = ReplicaConfig {
        command: replica.command.as_ref().map(|_| Vec::new()),
        copies: None,
        env: BTreeMap::new(),
        cwd: None,
        user: None,
        node: None,
        // The supervisor sees to that of what it runs.
        startup_deadline: replica.startup_deadline.filter(|_| replica.command.is_none()),
        stop_grace: None,
        ..replica.clone()
    };
    format!("{} {} {seen:?}", place.name, place.endpoint)
}

/// One place where a replica is.
struct Place {
    name: String,
    endpoint: Endpoint,
    /// The name its certificate is for.
    host: String,
}
