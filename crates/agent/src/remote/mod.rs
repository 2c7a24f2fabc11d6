//! The keeper's end: the orchestrator of another node.
//!
//! ```text
//!   apply, ready, jobs ─► Wanted (levels: sent again on each connection) ─┐
//!   restart, stop, … ──► calls (with keys: sent again until answered) ────┴─► link ══► agent
//!   statuses ◄── lives (starts counted on across lives of the agent) ◄────────┘
//! ```

mod link;
mod lives;
mod orders;
mod term;

pub use term::{Term, next_term};

use crate::connect::Target;
use crate::identity::Authority;
use crate::identity::tls::{self, TlsError};
use crate::words::{Done, Order};
use evenkeel_domain::job::{JobSettings, JobStatus};
use evenkeel_domain::node::{NodeSettings, Peer};
use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, OrchestratorError, Outdated};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long a call waits for an agent that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls that wait for it.
const WAITING: usize = 64;

/// What a keeper needs to command a node.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// The node.
    pub node: NodeSettings,
    /// This start of the keeper.
    pub term: Term,
    /// Where the epoch is kept, so that it rises above one that an agent has told of.
    pub state_dir: std::path::PathBuf,
}

/// How the connection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Orders get through.
    pub connected: bool,
    /// Why not, or what was refused, in one line.
    pub why: Option<String>,
    /// When the node's certificate ends (seconds since the Unix epoch), once known.
    pub expires_unix_s: Option<u64>,
    /// Instances that run with settings of before, as of the last time they were applied.
    pub outdated: Outdated,
}

/// A node's orchestrator, from afar. Dropping it ends the connection; what runs there goes on.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Pending>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    node: String,
    wanted: Mutex<Wanted>,
    /// Rises with each change of what is wanted.
    changed: watch::Sender<u64>,
    instances: watch::Sender<Vec<InstanceStatus>>,
    jobs: watch::Sender<Vec<JobStatus>>,
    link: watch::Sender<Link>,
    applied: watch::Sender<Applied>,
}

/// What the node is meant to do. Each is a level: the latest counts.
#[derive(Debug, Clone, Default)]
struct Wanted {
    specs: Option<Specs>,
    /// What was taken last, for when the next is refused.
    taken: Option<Specs>,
    /// Starts that were found ready, by instance.
    ready: std::collections::BTreeMap<String, u64>,
    jobs: Option<Vec<JobSettings>>,
    peers: Vec<Peer>,
}

#[derive(Debug, Clone)]
struct Specs {
    version: u64,
    all: Vec<InstanceSpec>,
    in_turn: bool,
}

/// The last answer to an application of specs.
#[derive(Debug, Clone, Default)]
struct Applied {
    version: u64,
    result: Option<Result<Outdated, OrchestratorError>>,
}

/// A call that was not answered yet.
#[derive(Debug)]
struct Pending {
    key: String,
    order: Order,
    answer: oneshot::Sender<Result<Done, OrchestratorError>>,
}

impl Remote {
    /// Commands a node from now on.
    ///
    /// # Errors
    /// When the keeper's certificate cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(settings: RemoteSettings, authority: &Authority) -> Result<Self, TlsError> {
        let tls = tls::client(authority.keeper())?;
        let (calls, inbox) = mpsc::channel(WAITING);
        let node = settings.node.name.clone();
        let shared = Arc::new(Shared {
            node: node.clone(),
            wanted: Mutex::default(),
            changed: watch::Sender::new(0),
            instances: watch::Sender::new(Vec::new()),
            jobs: watch::Sender::new(Vec::new()),
            link: watch::Sender::new(Link::default()),
            applied: watch::Sender::new(Applied::default()),
        });
        let target = Target { node, address: settings.node.address.clone(), tls };
        let task = tokio::spawn(link::run(target, settings, shared.clone(), inbox)).abort_handle();
        Ok(Self { shared, calls, task })
    }

    /// Has the node run these and nothing else, as soon as it can be reached; what is ready
    /// there goes on as it is until it is restarted.
    pub fn want(&self, specs: Vec<InstanceSpec>) {
        let same = self.shared.lock().specs.as_ref().is_some_and(|wanted| wanted.all == specs);
        if !same {
            self.shared.set_specs(specs, true);
        }
    }

    /// Tells that a start was found ready, as soon as the node can be reached.
    pub fn note_ready(&self, name: &str, incarnation: u64) {
        self.shared.change(|wanted| {
            wanted.ready.insert(name.to_owned(), incarnation);
        });
    }

    /// Has the node run these jobs and no others.
    pub fn want_jobs(&self, jobs: Vec<JobSettings>) {
        self.shared.change(|wanted| wanted.jobs = Some(jobs));
    }

    /// Has the node beat to these, too.
    pub fn want_peers(&self, peers: Vec<Peer>) {
        self.shared.change(|wanted| wanted.peers = peers);
    }

    /// Follows how the connection stands.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    /// Follows the jobs there.
    #[must_use]
    pub fn jobs(&self) -> watch::Receiver<Vec<JobStatus>> {
        self.shared.jobs.subscribe()
    }

    /// Ends everything that runs there. Waits until it has ended, or the time is over, which
    /// is said by `false`.
    pub async fn stop_all(&self, within: Duration) -> bool {
        if self.shared.instances.borrow().is_empty() && self.shared.jobs.borrow().is_empty() {
            return true;
        }
        self.want_jobs(Vec::new());
        self.shared.set_specs(Vec::new(), false);
        let mut instances = self.shared.instances.subscribe();
        timeout(within, instances.wait_for(Vec::is_empty)).await.is_ok()
    }

    /// Has something done once, also if the connection breaks meanwhile.
    async fn call(&self, order: Order) -> Result<Done, OrchestratorError> {
        let (answer, answered) = oneshot::channel();
        let key = format!("{:016x}{:016x}", self.shared.key(), self.shared.key());
        let called = async {
            self.calls.send(Pending { key, order, answer }).await.ok()?;
            answered.await.ok()
        };
        let answer = timeout(PATIENCE, called).await.ok().flatten();
        answer.unwrap_or_else(|| Err(self.shared.unreached()))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
    }

    /// Gives the version that these specs have.
    fn set_specs(&self, all: Vec<InstanceSpec>, in_turn: bool) -> u64 {
        let mut version = 0;
        self.change(|wanted| {
            version = wanted.specs.as_ref().map_or(1, |specs| specs.version + 1);
            wanted.ready.retain(|name, _| all.iter().any(|spec| spec.name == *name));
            wanted.specs = Some(Specs { version, all, in_turn });
        });
        version
    }

    fn key(&self) -> u64 {
        // Unique is enough: only the keeper's certificate may send one.
        evenkeel_domain::rng::from_os().u64(..)
    }

    fn unreached(&self) -> OrchestratorError {
        let why = self.link.borrow().why.clone().unwrap_or_else(|| "no answer".to_owned());
        OrchestratorError::Unavailable(format!("node {} cannot be reached: {why}", self.node))
    }
}
