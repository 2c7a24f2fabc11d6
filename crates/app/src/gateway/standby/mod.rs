//! Standbys: has them promoted and sends them back, as recovery, people and the plan want it.
//!
//! ```text
//!   recovery's step `promote`, people ─► Runner ─ look ─► plan (pure) ─► deeds
//!                      pools, instances ──┘                    duties: a file, gates
//!                                                              load, unload: requests
//!                                                              cold: the keeper starts, stops
//! ```
//! A hot standby needs none of this to be asked: the gate `reserve` is enough. What is done
//! here makes it official, and prepares those that are not hot.

mod calls;
mod duties;
mod prepare;
mod runner;

use crate::config::{Config, replicas, standby};
use arc_swap::ArcSwap;
use evenkeel_admin::view::StandbyView;
use evenkeel_domain::standby::{Level, Rules};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub(super) use runner::Runner;

/// Calls that may wait: steps of incidents, and people.
const CALLS: usize = 64;

/// How the standbys of one service are used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    rules: Rules,
    standbys: Vec<(String, Level)>,
    /// How long one may take to be ready.
    patience: Duration,
}

enum Call {
    /// An incident of this replica has come to the step.
    Instead { target: String, answer: oneshot::Sender<Result<String, String>> },
    /// A person wants it so.
    Order {
        name: String,
        promote: bool,
        owner: String,
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// What others in this process know of standbys.
pub(super) struct Standbys {
    rules: ArcSwap<BTreeMap<String, Rule>>,
    calls: mpsc::Sender<Call>,
    views: Mutex<BTreeMap<String, StandbyView>>,
    /// Who serves in whose place: active replica, standby.
    replaced: Mutex<BTreeMap<String, String>>,
}

impl Standbys {
    /// With the inbox for its [`Runner`].
    fn new(config: &Config) -> (Arc<Self>, mpsc::Receiver<Call>) {
        let (calls, inbox) = mpsc::channel(CALLS);
        let standbys = Self {
            rules: ArcSwap::from_pointee(rules(config)),
            calls,
            views: Mutex::default(),
            replaced: Mutex::default(),
        };
        (Arc::new(standbys), inbox)
    }

    /// A new configuration is in force.
    pub(super) fn configure(&self, config: &Config) {
        self.rules.store(Arc::new(rules(config)));
    }

    /// What is shown, by service.
    pub(super) fn views(&self) -> BTreeMap<String, StandbyView> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a replica of this service has standbys beside it.
    pub(super) fn has(&self, service: &str, replica: &str) -> bool {
        let rules = self.rules.load();
        let rule = rules.get(service);
        rule.is_some_and(|rule| rule.standbys.iter().any(|(name, _)| name != replica))
    }

    /// Who serves in its place.
    pub(super) fn replaced_by(&self, replica: &str) -> Option<String> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).get(replica).cloned()
    }

    /// Has a standby serve in a replica's place; returns once one does, or none is needed.
    pub(super) async fn instead(&self, target: &str) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "this gateway ends; its successor goes on".to_owned();
        let call = Call::Instead { target: target.to_owned(), answer };
        self.calls.send(call).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A person promotes a standby, or sends it back.
    pub(super) async fn order(&self, name: &str, promote: bool, owner: &str) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "this gateway ends; ask its successor".to_owned();
        let (name, owner) = (name.to_owned(), owner.to_owned());
        let call = Call::Order { name, promote, owner, answer };
        self.calls.send(call).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn rules(config: &Config) -> BTreeMap<String, Rule> {
    let of = |service: &crate::config::ServiceConfig| {
        let mut standbys = Vec::new();
        let mut patience = Duration::ZERO;
        for (first, replica) in replicas::numbered(service) {
            let Some(standby) = standby::of(replica) else { continue };
            patience = patience.max(replica.startup_deadline.unwrap_or(replicas::STARTUP));
            let numbers = first..first + replicas::numbers(service, replica);
            standbys.extend(numbers.map(|n| (format!("{}-{n}", service.name), standby.level)));
        }
        let rules = service.standby.clone().unwrap_or_default();
        (!standbys.is_empty()).then(|| (service.name.clone(), Rule { rules, standbys, patience }))
    };
    config.service.iter().filter_map(of).collect()
}
