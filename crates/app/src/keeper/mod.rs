//! The keeper: `evenkeel up`. It owns the listening sockets and all processes, and does
//! nothing else, so that it has no reason to die.
//!
//! ```text
//!            keeper ── sockets ──► gateway (same binary; replaced when it dies or upgrades)
//!              │
//!              └── guards ──► supervised replicas (untouched by what happens to gateways)
//! ```

mod child;
mod handover;
mod hosts;
mod leaving;
mod reload;
mod scale;
mod signals;
mod sockets;
mod stop;

use crate::config::{self, Config, ConfigErrors, Sources};
use crate::link::{ToGateway, ToKeeper};
use child::Gateway;
use evenkeel_domain::job::JobStatus;
use evenkeel_domain::orchestrator::{InstanceStatus, Outdated};
use evenkeel_domain::{clock, rng};
use evenkeel_supervisor::{
    SetupError, Supervisor, SupervisorSettings, become_subreaper, job::Jobs, restart::RestartPolicy,
};
use hosts::Hosts;
use leaving::Fleet;
use sd_notify::NotifyState;
use signals::{Signals, What};
pub(crate) use sockets::SocketError;
use sockets::Sockets;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events that may wait.
const EVENTS: usize = 1024;
/// How often the file is looked at, and the watchdog fed.
const TICK: Duration = Duration::from_secs(1);
/// A new gateway that is not ready within this is given up.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The service manager's watchdog is fed while the gateway was heard of within this.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// What the keeper is started with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The configuration file; watched. `None`: only the text counts.
    pub(crate) file: Option<PathBuf>,
    /// What it is called in messages.
    pub(crate) name: PathBuf,
    /// Its text, and that of the key file it names.
    pub(crate) sources: Sources,
    /// Told when the first gateway serves.
    pub(crate) announce: fn(&Announcement),
}

/// What runs where, for whoever started us.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) clients: Vec<std::net::SocketAddr>,
    pub(crate) admin: Option<std::net::SocketAddr>,
    pub(crate) tls: bool,
    pub(crate) workers: usize,
    pub(crate) gateway_pid: u32,
    pub(crate) services: Vec<String>,
    pub(crate) instances: Vec<InstanceStatus>,
}

/// Why the keeper could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("{0}")]
    Supervisor(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the gateway did not start: {0}")]
    Gateway(String),
}

/// What happens to the keeper.
enum Event {
    Said(u64, ToKeeper),
    Ended(u64, String),
}

struct Keeper {
    options: Options,
    config: Config,
    generation: u64,
    sockets: Sockets,
    binary: PathBuf,
    /// What runs replicas and jobs.
    hosts: Hosts,
    /// What they are to run.
    fleet: Fleet,
    /// How many copies of scaled services run, by service.
    sizes: BTreeMap<String, u32>,
    events: mpsc::Sender<Event>,
    /// The newest gateway, which is or will be the one that serves.
    current: Option<Gateway>,
    /// When the newest was started.
    started: Instant,
    /// Older ones, serving until the newest is ready, then draining.
    old: Vec<Gateway>,
    next_id: u64,
    crashes: VecDeque<Instant>,
    last_alive: Instant,
    announced: bool,
    /// The first gateway that is ready, until that is said.
    unannounced: Option<u32>,
    /// Replicas that run with settings of before, each with the start that does.
    outdated: BTreeMap<String, u64>,
    /// A text that was refused is not tried again until it changes.
    seen: Sources,
    /// What gateways were told last: instances and jobs; and what agents had outdated.
    told: (Vec<InstanceStatus>, Vec<JobStatus>, Outdated),
}

/// Runs until told to stop.
pub(crate) async fn run(options: Options) -> Result<(), KeeperError> {
    let config = options.sources.parse(&options.name)?;
    become_subreaper()?;
    let sockets = Sockets::bind(&config, None)?;
    let (events, mut inbox) = mpsc::channel(EVENTS);
    let state_dir = config::state_dir(&config);
    let settings = SupervisorSettings {
        guard_command: vec!["/proc/self/exe".into(), "guard".into()],
        log_dir: state_dir.join("logs"),
        restart: RestartPolicy::default(),
    };
    let broken = |error: SetupError| KeeperError::Supervisor(error.to_string());
    let supervisor = Supervisor::new(settings, rng::from_os()).map_err(broken)?;
    // Apart from replicas: what is no replica of the configuration is stopped there.
    let jobs = state_dir.join("jobs");
    let jobs = Jobs::new(supervisor.beside(jobs.join("logs")).map_err(broken)?, jobs);
    let hosts = Hosts::new(supervisor, jobs, state_dir);
    let mut keeper = Keeper {
        outdated: BTreeMap::new(),
        seen: options.sources.clone(),
        told: Default::default(),
        options,
        config,
        generation: 1,
        sockets,
        // By path, not /proc/self/exe: an upgrade replaces the file behind it.
        binary: std::env::current_exe()?,
        hosts,
        fleet: Fleet::default(),
        sizes: BTreeMap::new(),
        events,
        current: None,
        started: clock::now(),
        old: Vec::new(),
        next_id: 1,
        crashes: VecDeque::new(),
        last_alive: clock::now(),
        announced: false,
        unannounced: None,
    };
    keeper.hosts.set_nodes(&keeper.config).map_err(KeeperError::Supervisor)?;
    keeper.want_instances().map_err(KeeperError::Supervisor)?;
    keeper.hosts.apply_jobs(keeper.config.job.clone());
    keeper.start_gateway(None)?;
    let mut signals = Signals::new()?;
    let (mut changed, mut beaten) = (keeper.hosts.changed(), keeper.hosts.beaten());
    let mut tick = tokio::time::interval(TICK);
    let ended = loop {
        tokio::select! {
            Some(event) = inbox.recv() => match keeper.on_event(event).await {
                Flow::Go => {}
                Flow::Stop => break Ok(()),
                Flow::Fail(error) => break Err(error),
            },
            // Their senders live as long as the keeper.
            _ = changed.changed() => keeper.on_changed(),
            _ = beaten.changed() => {
                let nodes = keeper.hosts.beaten_statuses();
                keeper.tell_all(&ToGateway::Nodes(nodes));
            }
            what = signals.next() => match what {
                What::Stop => break Ok(()),
                What::Reload => keeper.reload(true),
                What::Upgrade => keeper.upgrade(None),
            },
            _ = tick.tick() => keeper.on_tick(),
        }
    };
    keeper.stop(&mut inbox, &mut signals).await;
    ended
}

/// Whether to go on.
enum Flow {
    Go,
    Stop,
    Fail(KeeperError),
}

impl Keeper {
    async fn on_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Said(id, message) => self.on_said(id, message),
            Event::Ended(id, how) => {
                self.fleet.gateway_ended(id);
                self.review();
                self.on_ended(id, &how).await
            }
        }
    }

    fn on_said(&mut self, id: u64, message: ToKeeper) -> Flow {
        match message {
            ToKeeper::Ready => self.on_ready(id),
            ToKeeper::Alive => {
                // One that is on its way out says nothing of the one that serves.
                if self.current.as_ref().is_some_and(|gateway| gateway.id == id) {
                    self.last_alive = clock::now();
                }
            }
            ToKeeper::MarkReady { name, incarnation } => {
                self.hosts.mark_ready(&name, incarnation);
            }
            ToKeeper::Idle { name, incarnation } => {
                self.fleet.idle(id, &name, incarnation);
                self.review();
            }
            ToKeeper::Restart { name, incarnation, grace_ms } => {
                self.restart(&name, incarnation, grace_ms.map(Duration::from_millis));
            }
            ToKeeper::Wake { name, run } => self.wake(&name, run),
            ToKeeper::Scale { service, copies } => self.scale(service, copies),
            ToKeeper::Job { name, order } => {
                if !self.hosts.order_job(&name, order) {
                    tracing::warn!(job = name, "there is no such job any more");
                }
            }
            ToKeeper::Reload => self.reload(true),
            ToKeeper::Upgrade { binary } => self.upgrade(binary.as_deref()),
            ToKeeper::Stop => return Flow::Stop,
        }
        Flow::Go
    }

    /// Something runs otherwise than before, here or elsewhere.
    fn on_changed(&mut self) {
        let statuses = self.hosts.statuses();
        if statuses != self.told.0 {
            self.tell_all(&ToGateway::Instances(statuses.clone()));
            self.told.0 = statuses;
        }
        let jobs = self.hosts.job_statuses();
        if jobs != self.told.1 {
            self.tell_all(&ToGateway::Jobs(jobs.clone()));
            self.told.1 = jobs;
        }
        let outdated = self.hosts.outdated();
        if outdated != self.told.2 {
            self.outdated.extend(outdated.iter().cloned());
            self.told.2 = outdated;
            self.renew();
        }
        self.tell_all(&ToGateway::Nodes(self.hosts.node_statuses()));
        self.review();
        self.announce(false);
    }

    /// Restarts a replica; not where another start of it runs by now than was meant.
    fn restart(&self, name: &str, only: Option<u64>, grace: Option<Duration>) {
        let runs = self.hosts.statuses().into_iter().find(|status| status.name == name);
        if only.is_some_and(|only| runs.is_some_and(|status| status.incarnation != only)) {
            tracing::info!(replica = name, "not restarted: it has been started anew already");
            return;
        }
        self.hosts.restart(name, grace);
    }

    /// Starts a cold standby, or stops it; its gateway has drained it.
    fn wake(&self, name: &str, run: bool) {
        let done = self.hosts.run(name, run);
        if let Err(error) = done {
            tracing::warn!(replica = name, run, %error, "cannot start or stop a standby");
        }
    }

    fn on_tick(&mut self) {
        self.announce(true);
        self.reload(false);
        self.review();
        let now = clock::now();
        let slow = now.duration_since(self.started) > READY_WITHIN;
        if let Some(gateway) = self.current.as_ref().filter(|g| !g.ready && slow) {
            tracing::error!(pid = gateway.pid, "gateway not ready in time; ending it");
            gateway.kill();
        }
        if now.duration_since(self.last_alive) < ALIVE_WITHIN {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}
