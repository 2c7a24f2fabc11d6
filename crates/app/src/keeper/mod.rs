//! The keeper: `evenkeel up`. It owns the listening sockets and all processes, and does
//! nothing else, so that it has no reason to die.
//!
//! ```text
//!            keeper ── sockets ──► gateway (same binary; replaced when it dies or upgrades)
//!              │
//!              └── guards ──► supervised replicas (untouched by what happens to gateways)
//! ```

mod child;
mod sockets;

use crate::config::{self, Config, ConfigErrors, replicas};
use crate::link::{ToGateway, ToKeeper};
use child::Gateway;
use evenkeel_domain::{clock, rng};
use evenkeel_supervisor::{
    Supervisor, SupervisorSettings, become_subreaper, restart::RestartPolicy,
};
use sd_notify::NotifyState;
pub(crate) use sockets::SocketError;
use sockets::Sockets;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Events that may wait.
const EVENTS: usize = 1024;
/// How often the file is looked at, and the watchdog fed.
const TICK: Duration = Duration::from_secs(1);
/// A gateway that dies this often within a minute is started with a pause.
const CRASHES: usize = 5;
/// The pause.
const CRASH_PAUSE: Duration = Duration::from_secs(1);
/// A new gateway that is not ready within this is given up.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The service manager's watchdog is fed while the gateway was heard of within this.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// Replicas get this long to end when the keeper stops, unless their own grace is longer.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// What the keeper is started with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The configuration file; watched. `None`: only the text counts.
    pub(crate) file: Option<PathBuf>,
    /// What it is called in messages.
    pub(crate) name: PathBuf,
    /// Its text.
    pub(crate) text: String,
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
    pub(crate) instances: Vec<evenkeel_domain::orchestrator::InstanceStatus>,
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
    supervisor: Supervisor,
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
    stopping: bool,
    /// Replicas that run with settings of before, each with the start that does.
    outdated: BTreeMap<String, u64>,
    /// A text that was refused is not tried again until it changes.
    seen_text: String,
}

/// Runs until told to stop.
pub(crate) async fn run(options: Options) -> Result<(), KeeperError> {
    let config = config::parse(&options.name, &options.text)?;
    become_subreaper()?;
    let sockets = Sockets::bind(&config, None)?;
    let (events, mut inbox) = mpsc::channel(EVENTS);
    let log_dir = config::state_dir(&config).join("logs");
    let supervisor = Supervisor::new(
        SupervisorSettings {
            guard_command: vec!["/proc/self/exe".into(), "guard".into()],
            log_dir,
            restart: RestartPolicy::default(),
        },
        rng::from_os(),
    )
    .map_err(|e| KeeperError::Supervisor(e.to_string()))?;
    let mut keeper = Keeper {
        outdated: BTreeMap::new(),
        seen_text: options.text.clone(),
        options,
        config,
        generation: 1,
        sockets,
        // By path, not /proc/self/exe: an upgrade replaces the file behind it.
        binary: std::env::current_exe()?,
        supervisor,
        events,
        current: None,
        started: clock::now(),
        old: Vec::new(),
        next_id: 1,
        crashes: VecDeque::new(),
        last_alive: clock::now(),
        announced: false,
        stopping: false,
    };
    keeper.apply_instances().map_err(KeeperError::Supervisor)?;
    keeper.start_gateway(None)?;
    let mut signals = Signals::new()?;
    let mut instances = keeper.supervisor.subscribe();
    let mut tick = tokio::time::interval(TICK);
    let ended = loop {
        tokio::select! {
            Some(event) = inbox.recv() => match keeper.on_event(event).await {
                Flow::Go => {}
                Flow::Stop => break Ok(()),
                Flow::Fail(error) => break Err(error),
            },
            changed = instances.changed() => if changed.is_ok() {
                keeper.tell_all(&ToGateway::Instances(instances.borrow_and_update().clone()));
            },
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
    /// What is ready is not restarted here: the gateway does that in turn, since a change
    /// of all replicas at once would be an outage.
    fn apply_instances(&mut self) -> Result<(), String> {
        let specs = self.config.service.iter().flat_map(replicas::instances).collect();
        let outdated = self.supervisor.apply_in_turn(specs).map_err(|e| e.to_string())?;
        self.outdated.extend(outdated);
        Ok(())
    }

    /// Has the gateway restart what is still outdated.
    fn renew(&mut self) {
        let now = self.supervisor.statuses();
        self.outdated
            .retain(|name, start| now.iter().any(|s| s.name == *name && s.incarnation == *start));
        let ready = self.current.as_ref().filter(|g| g.ready);
        if let Some(gateway) = ready.filter(|_| !self.outdated.is_empty()) {
            let outdated = self.outdated.iter().map(|(name, start)| (name.clone(), *start));
            gateway.tell(ToGateway::Renew { outdated: outdated.collect() });
        }
    }

    fn config_message(&self) -> ToGateway {
        ToGateway::Config {
            path: self.options.name.clone(),
            text: self.options.text.clone(),
            generation: self.generation,
        }
    }

    /// Starts a gateway; the one before serves until the new one is ready.
    fn start_gateway(&mut self, binary: Option<&Path>) -> io::Result<()> {
        let binary = binary.unwrap_or(&self.binary).to_owned();
        let gateway = Gateway::start(self.next_id, &binary, &self.sockets, self.events.clone())?;
        self.next_id += 1;
        self.started = clock::now();
        self.last_alive = self.started;
        gateway.tell(self.config_message());
        gateway.tell(ToGateway::Instances(self.supervisor.statuses()));
        tracing::info!(pid = gateway.pid, "gateway started");
        self.old.extend(self.current.replace(gateway));
        Ok(())
    }

    fn tell_all(&self, message: &ToGateway) {
        for gateway in self.current.iter().chain(&self.old) {
            gateway.tell(message.clone());
        }
    }

    async fn on_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Said(id, message) => self.on_said(id, message),
            Event::Ended(id, how) => self.on_ended(id, &how).await,
        }
    }

    fn on_said(&mut self, id: u64, message: ToKeeper) -> Flow {
        match message {
            ToKeeper::Ready => self.on_ready(id),
            ToKeeper::Alive => self.last_alive = clock::now(),
            ToKeeper::MarkReady { name, incarnation } => {
                // One that has ended meanwhile is none of our business any more.
                let _ = self.supervisor.mark_ready(&name, incarnation);
            }
            ToKeeper::Restart { name } => {
                if let Err(error) = self.supervisor.restart(&name, None) {
                    tracing::warn!(replica = name, %error, "cannot restart");
                }
            }
            ToKeeper::Reload => self.reload(true),
            ToKeeper::Upgrade { binary } => self.upgrade(binary.as_deref()),
            ToKeeper::Stop => return Flow::Stop,
        }
        Flow::Go
    }

    fn on_ready(&mut self, id: u64) {
        let Some(current) = self.current.as_mut().filter(|g| g.id == id) else { return };
        current.ready = true;
        let gateway_pid = current.pid;
        for old in &self.old {
            old.tell(ToGateway::Drain { replaced: true });
        }
        self.renew();
        if !std::mem::replace(&mut self.announced, true) {
            (self.options.announce)(&Announcement {
                clients: self.sockets.client_addresses(),
                admin: self.sockets.admin_address(),
                tls: self.config.gateway.tls.is_some(),
                workers: self.sockets.workers,
                gateway_pid,
                services: self.config.service.iter().map(|s| s.name.clone()).collect(),
                instances: self.supervisor.statuses(),
            });
            // Without a service manager there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
    }

    async fn on_ended(&mut self, id: u64, how: &str) -> Flow {
        if self.current.as_ref().is_none_or(|g| g.id != id) {
            self.old.retain(|g| g.id != id);
            return Flow::Go;
        }
        let ready = self.current.take().is_some_and(|g| g.ready);
        if !ready && !self.announced {
            return Flow::Fail(KeeperError::Gateway(how.to_owned()));
        }
        if !ready && let Some(old) = self.old.pop() {
            tracing::error!(how, "the new gateway did not start; the old one goes on");
            self.current = Some(old);
            return Flow::Go;
        }
        let now = clock::now();
        self.crashes.push_back(now);
        while self.crashes.len() > CRASHES {
            self.crashes.pop_front();
        }
        let often = self.crashes.len() == CRASHES
            && self.crashes.front().is_some_and(|t| now.duration_since(*t).as_secs() < 60);
        tracing::error!(how, "the gateway ended; starting it again");
        if often {
            tokio::time::sleep(CRASH_PAUSE).await;
        }
        match self.start_gateway(None) {
            Ok(()) => Flow::Go,
            Err(error) => Flow::Fail(error.into()),
        }
    }

    fn on_tick(&mut self) {
        self.reload(false);
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

    /// Reads the file again; `asked` by a person, or looked at by the clock.
    fn reload(&mut self, asked: bool) {
        let Some(file) = self.options.file.clone() else { return };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if asked => {
                self.refuse(&format!("{}: cannot be read: {error}", file.display()));
                return;
            }
            // Editors replace files: it may be back at the next look.
            Err(_) => return,
        };
        if !asked && text == self.seen_text {
            return;
        }
        self.seen_text.clone_from(&text);
        match config::parse(&self.options.name, &text) {
            Err(errors) => self.refuse(&errors.to_string()),
            Ok(config) => self.take(config, text),
        }
    }

    fn refuse(&self, why: &str) {
        tracing::error!("configuration refused, the old one stays in force: {why}");
        self.tell_all(&ToGateway::Refused { why: why.to_owned() });
    }

    /// Puts a checked configuration in force.
    fn take(&mut self, config: Config, text: String) {
        if config == self.config {
            self.options.text = text;
            return;
        }
        if !self.sockets.serve(&config) {
            match Sockets::bind(&config, Some(&self.sockets)) {
                Ok(sockets) => self.sockets = sockets,
                Err(error) => return self.refuse(&error.to_string()),
            }
        }
        // What only a new process can take over is handed over to one.
        let in_place = config.gateway == self.config.gateway
            && config.admin == self.config.admin
            && config.log == self.config.log
            && config.trace == self.config.trace;
        let before = std::mem::replace(&mut self.config, config);
        if let Err(error) = self.apply_instances() {
            self.config = before;
            return self.refuse(&error);
        }
        self.options.text = text;
        self.generation += 1;
        tracing::info!(generation = self.generation, in_place, "configuration reloaded");
        if in_place {
            self.tell_all(&self.config_message());
            self.renew();
        } else if let Err(error) = self.start_gateway(None) {
            tracing::error!(%error, "cannot start a gateway for the new configuration");
        }
    }

    fn upgrade(&mut self, binary: Option<&Path>) {
        tracing::info!(binary = ?binary.unwrap_or(&self.binary), "handing over to a new gateway");
        if let Err(error) = self.start_gateway(binary) {
            tracing::error!(%error, "cannot start the new gateway; the old one goes on");
            return;
        }
        if let Some(binary) = binary {
            // Should it die, the same one is started again.
            self.binary = binary.to_owned();
        }
    }

    /// Drains the gateways, then stops the replicas. A second signal hurries.
    async fn stop(mut self, inbox: &mut mpsc::Receiver<Event>, signals: &mut Signals) {
        self.stopping = true;
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        tracing::info!("stopping: answers under way may end; a second signal ends them");
        // The gateways have the sockets, too: new clients are refused once they let go.
        self.sockets.close();
        self.tell_all(&ToGateway::Drain { replaced: false });
        let limit = tokio::time::sleep(self.config.gateway.drain + Duration::from_secs(2));
        tokio::pin!(limit);
        let mut gateways: Vec<Gateway> = self.current.take().into_iter().collect();
        gateways.append(&mut self.old);
        while !gateways.is_empty() {
            tokio::select! {
                Some(event) = inbox.recv() => if let Event::Ended(id, _) = event {
                    gateways.retain(|g| g.id != id);
                },
                what = signals.next() => if matches!(what, What::Stop) {
                    gateways.iter().for_each(Gateway::kill);
                },
                () = &mut limit => gateways.iter().for_each(Gateway::kill),
            }
        }
        tokio::select! {
            () = self.supervisor.shutdown(STOP_WITHIN) => {}
            () = signals.stop_again() => {
                self.supervisor.shutdown(Duration::ZERO).await;
            }
        }
        tracing::info!("stopped");
    }
}

/// What a signal asks for.
enum What {
    Stop,
    Reload,
    Upgrade,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> What {
        tokio::select! {
            _ = self.term.recv() => What::Stop,
            _ = self.int.recv() => What::Stop,
            _ = self.hup.recv() => What::Reload,
            _ = self.usr2.recv() => What::Upgrade,
        }
    }

    async fn stop_again(&mut self) {
        while !matches!(self.next().await, What::Stop) {}
    }
}
