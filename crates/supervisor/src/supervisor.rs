//! The supervisor: takes wishes, keeps one task per instance.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, OrchestratorError, Outdated, Phase,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::board::Board;
use crate::instance::{Instance, Shared, Want, Wish};
use crate::ports::Ports;
use crate::restart::RestartPolicy;
use crate::spec::{SpecError, validate};

/// What the grace of a shutdown is exceeded by at most: killing, and a guard that does
/// not answer.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(30);

/// What the supervisor needs to know.
#[derive(Debug, Clone)]
pub struct SupervisorSettings {
    /// How to start a guard: program and leading arguments, such as
    /// `["/proc/self/exe", "guard", "--"]`. The replica's name is added, for process
    /// lists.
    pub guard_command: Vec<OsString>,
    /// Where the log files go; made if missing.
    pub log_dir: PathBuf,
    /// When to restart.
    pub restart: RestartPolicy,
}

/// Why there can be no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The log directory cannot be made.
    #[error("cannot make the log directory {}: {error}; make it, or set another", path.display())]
    LogDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel does not let it.
    #[error("cannot become the parent of orphaned processes: {0}; is `prctl` forbidden here?")]
    Subreaper(io::Error),
}

/// Runs instances on this node. A handle: clones are the same supervisor.
///
/// Its tasks run on the runtime it was made on. When that ends, or the process does,
/// all that was started is killed; [`Supervisor::shutdown`] is the orderly way.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    state: Mutex<State>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// No task has this turn yet, so that a new one differs from every old one.
    next_turn: u64,
    rng: fastrand::Rng,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

type Result<T> = std::result::Result<T, OrchestratorError>;

impl Supervisor {
    /// A supervisor without instances, on the current tokio runtime. Makes this
    /// process a subreaper. `rng` is for jitter.
    ///
    /// # Errors
    /// See [`SetupError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        settings: SupervisorSettings,
        rng: fastrand::Rng,
    ) -> std::result::Result<Self, SetupError> {
        let directory = std::path::absolute(&settings.log_dir);
        let ports = Ports::of(directory.as_ref().unwrap_or(&settings.log_dir));
        Self::with_ports(settings, rng, ports)
    }

    /// Another one for what is told apart from its instances: no port is given out by both.
    ///
    /// # Errors
    /// See [`SetupError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn beside(&self, log_dir: PathBuf) -> std::result::Result<Self, SetupError> {
        let shared = &self.inner.shared;
        let (guard_command, restart) = (shared.guard_command.clone(), shared.policy.clone());
        let rng = self.lock().rng.fork();
        let settings = SupervisorSettings { guard_command, log_dir, restart };
        Self::with_ports(settings, rng, shared.ports.clone())
    }

    fn with_ports(
        settings: SupervisorSettings,
        rng: fastrand::Rng,
        ports: Ports,
    ) -> std::result::Result<Self, SetupError> {
        crate::become_subreaper().map_err(SetupError::Subreaper)?;
        let path = settings.log_dir;
        if let Err(error) = std::fs::create_dir_all(&path) {
            return Err(SetupError::LogDir { path, error });
        }
        let shared = Arc::new(Shared {
            guard_command: settings.guard_command,
            log_dir: path,
            policy: settings.restart,
            ports,
            board: Board::new(),
        });
        let state = State { entries: BTreeMap::new(), next_turn: 1, rng, closed: false };
        let runtime = tokio::runtime::Handle::current();
        Ok(Self { inner: Arc::new(Inner { shared, state: Mutex::new(state), runtime }) })
    }

    /// Makes `specs` the whole of what runs; see [`evenkeel_domain::orchestrator::Orchestrator::apply`].
    ///
    /// # Errors
    /// `Spec` for the first bad spec (then nothing has changed), `Unavailable` while
    /// shutting down.
    pub fn apply(&self, specs: Vec<InstanceSpec>) -> Result<()> {
        self.place_all(specs, true).map(drop)
    }

    /// As [`Self::apply`], but what is ready goes on with its old spec until it is
    /// restarted, so that a change of all instances is no outage. Gives each of those with
    /// the start that is outdated.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_in_turn(&self, specs: Vec<InstanceSpec>) -> Result<Outdated> {
        self.place_all(specs, false)
    }

    fn place_all(&self, specs: Vec<InstanceSpec>, at_once: bool) -> Result<Outdated> {
        let fixed = check(&specs)?;
        let mut state = self.open()?;
        self.inner.shared.ports.set_fixed(fixed);
        let names: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        for (name, entry) in &state.entries {
            if !names.contains(name.as_str()) {
                entry.wish.send_modify(|wish| (wish.want, wish.grace) = (Want::Remove, None));
            }
        }
        let placed = specs.into_iter().map(|spec| self.place(&mut state, spec, at_once));
        Ok(placed.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    /// Starts an instance (anew) under this spec, beside all others.
    ///
    /// # Errors
    /// `Spec` when it cannot be run, `Unavailable` while shutting down.
    pub fn launch(&self, spec: InstanceSpec) -> Result<()> {
        check(std::slice::from_ref(&spec))?;
        let mut state = self.open()?;
        let turn = state.turn();
        if let Some(entry) = state.entries.get(&spec.name) {
            entry.wish.send_modify(|wish| {
                (wish.want, wish.grace, wish.turn) = (Want::Run, None, turn);
                wish.spec = Arc::new(spec);
            });
            return Ok(());
        }
        self.place(&mut state, spec, true);
        Ok(())
    }

    /// Stops an instance and forgets it.
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.wish(name, |wish, _| (wish.want, wish.grace) = (Want::Remove, None))
    }

    /// Starts a stopped instance; nothing if it runs.
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn start(&self, name: &str) -> Result<()> {
        self.wish(name, |wish, turn| {
            if wish.want != Want::Run {
                (wish.want, wish.grace, wish.turn) = (Want::Run, None, turn);
            }
        })
    }

    /// Stops an instance until it is started or restarted.
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.wish(name, |wish, _| (wish.want, wish.grace) = (Want::Stop, None))
    }

    /// The same, with another time to end than its spec says.
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn stop_within(&self, name: &str, grace: Duration) -> Result<()> {
        self.wish(name, |wish, _| (wish.want, wish.grace) = (Want::Stop, Some(grace)))
    }

    /// Stops and starts an instance at once; see [`evenkeel_domain::orchestrator::Orchestrator::restart`].
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn restart(&self, name: &str, grace: Option<Duration>) -> Result<u64> {
        self.wish(name, |wish, turn| {
            (wish.want, wish.grace, wish.turn) = (Want::Run, grace, turn);
        })?;
        Ok(self.inner.shared.board.get(name).map_or(0, |status| status.incarnation))
    }

    /// Runs `copies` of a service's instances; see [`evenkeel_domain::orchestrator::Orchestrator::scale`].
    ///
    /// # Errors
    /// `Unknown` if the service has none, `Unsupported` if it has fewer than `copies`.
    pub fn scale(&self, service: &str, copies: u32) -> Result<()> {
        let names = {
            let state = self.open()?;
            let mut members: Vec<(u32, String)> = Vec::new();
            for (name, entry) in &state.entries {
                let wish = entry.wish.borrow();
                if wish.spec.service == service && wish.want != Want::Remove {
                    members.push((wish.spec.index, name.clone()));
                }
            }
            members.sort();
            members
        };
        if names.is_empty() {
            return Err(OrchestratorError::Unknown(service.to_owned()));
        }
        let copies = usize::try_from(copies).unwrap_or(usize::MAX);
        if copies > names.len() {
            return Err(OrchestratorError::Unsupported(format!(
                "{service} has {} supervised replicas, not {copies}; raise its `copies`",
                names.len()
            )));
        }
        names.iter().enumerate().try_for_each(|(at, (_, name))| {
            if at < copies { self.start(name) } else { self.stop(name) }
        })
    }

    /// Tells that a probe found this incarnation ready.
    ///
    /// # Errors
    /// `Unknown`, or `Unavailable` while shutting down.
    pub fn mark_ready(&self, name: &str, incarnation: u64) -> Result<()> {
        self.wish(name, |wish, _| wish.ready = incarnation)
    }

    /// All instances, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<InstanceStatus> {
        self.inner.shared.board.all()
    }

    /// Follows the statuses.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        self.inner.shared.board.subscribe()
    }

    /// Stops everything at once, kills what has not ended after `grace`, and returns
    /// when nothing is left. No wish is taken any more.
    pub async fn shutdown(&self, grace: Duration) {
        let entries = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        for entry in entries.values() {
            entry.wish.send_modify(|wish| (wish.want, wish.grace) = (Want::Quit, Some(grace)));
        }
        let give_up = Instant::now() + grace + SHUTDOWN_SLACK;
        for (name, entry) in entries {
            if timeout_at(give_up, entry.task).await.is_err() {
                tracing::error!(name, "a replica could not be stopped in time");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.closed {
            return Err(OrchestratorError::Unavailable("Evenkeel is shutting down".to_owned()));
        }
        Ok(state)
    }

    fn wish(&self, name: &str, change: impl FnOnce(&mut Wish, u64)) -> Result<()> {
        let mut state = self.open()?;
        let turn = state.turn();
        let entry = state.entries.get(name).filter(|entry| !entry.is_going());
        let entry = entry.ok_or_else(|| OrchestratorError::Unknown(name.to_owned()))?;
        entry.wish.send_modify(|wish| change(wish, turn));
        Ok(())
    }

    /// Starts a new instance, or tells an existing one its spec.
    /// Gives name and start of an instance that goes on with its old spec.
    fn place(&self, state: &mut State, spec: InstanceSpec, at_once: bool) -> Option<(String, u64)> {
        let turn = state.turn();
        let spec = Arc::new(spec);
        if let Some(entry) = state.entries.get(&spec.name) {
            let ready = self.inner.shared.board.get(&spec.name);
            let ready = ready.filter(|s| !at_once && matches!(s.phase, Phase::Ready));
            let mut outdated = None;
            entry.wish.send_modify(|wish| {
                let other = wish.spec.needs_restart(&spec);
                match &ready {
                    Some(status) if other && wish.want == Want::Run => {
                        outdated = Some((spec.name.clone(), status.incarnation));
                    }
                    _ if other || wish.want == Want::Remove => {
                        (wish.turn, wish.grace) = (turn, None);
                    }
                    _ => {}
                }
                if wish.want == Want::Remove {
                    wish.want = first(&spec);
                }
                // What is to run from now on is started; what need not any more is for
                // whoever woke it to stop.
                if wish.want == Want::Stop && wish.spec.dormant && !spec.dormant {
                    (wish.want, wish.turn, wish.grace) = (Want::Run, turn, None);
                }
                wish.spec = spec;
            });
            return outdated;
        }
        let name = spec.name.clone();
        self.inner.shared.board.add(InstanceStatus::new(&name, &spec.service));
        let wish = Wish { want: first(&spec), spec, turn, ready: 0, grace: None };
        let (wish, receiver) = watch::channel(wish);
        let rng = state.rng.fork();
        let instance = Instance::new(Arc::clone(&self.inner.shared), receiver, rng);
        let weak = Arc::downgrade(&self.inner);
        let retire = move |name: &str| weak.upgrade().is_none_or(|inner| inner.retire(name));
        let task = self.inner.runtime.spawn(instance.run(retire));
        state.entries.insert(name, Entry { wish, task });
        None
    }
}

/// What is wanted of an instance that is described for the first time.
fn first(spec: &InstanceSpec) -> Want {
    if spec.dormant { Want::Stop } else { Want::Run }
}

impl State {
    fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }
}

impl Entry {
    fn is_going(&self) -> bool {
        self.wish.borrow().want == Want::Remove
    }
}

impl Inner {
    /// Forgets an instance that has stopped, unless it is wanted again: decided under
    /// the lock, so that a wish is never taken by a task that is over.
    fn retire(&self, name: &str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.entries.get(name) {
            Some(entry) if entry.is_going() => {
                state.entries.remove(name);
                self.shared.board.remove(name);
                true
            }
            Some(_) => false,
            // A shutdown has taken it out and waits for the task.
            None => true,
        }
    }
}

/// Checks all specs before anything changes. Answers with the fixed ports.
fn check(specs: &[InstanceSpec]) -> Result<BTreeSet<u16>> {
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for spec in specs {
        let result = validate(spec).and_then(|()| match spec.port {
            _ if !names.insert(&spec.name) => Err(SpecError::Duplicate(spec.name.clone())),
            Some(port) if !ports.insert(port) => Err(SpecError::PortTaken(port)),
            _ => Ok(()),
        });
        result.map_err(|error| OrchestratorError::Spec {
            name: spec.name.clone(),
            message: error.to_string(),
        })?;
    }
    Ok(ports)
}
