//! The gateway process: workers on threads of their own, and on the main thread all that
//! watches them: the health authority, probes, the roster, the admin API.
//!
//! ```text
//! main thread: link ─► roster ─► pools ◄─ authority ◄─ signals
//!                                  ▲                      │
//! worker threads:               table, picks ─────────────┘
//! ```
//! The workers go on when anything on the main thread is slow or dead.

mod control;
mod discover;
mod export;
mod otlp;
mod overrides;
mod roster;
mod source;

use crate::config::{self, Config, TlsConfig, replicas};
use crate::link::{self, Purpose, Reader, ToGateway, ToKeeper, Writer};
use crate::logging;
use control::GatewayControl;
use evenkeel_admin::AdminState;
use evenkeel_domain::event::{EventKind, EventLog};
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_domain::{Health, clock};
use evenkeel_gateway::access_log::AccessLog;
use evenkeel_gateway::{GatewaySettings, Listener, Shared, worker};
use evenkeel_health::Authority;
use evenkeel_health::probe::runner::Runner;
use evenkeel_wire::tls::{self, ServerIdentity};
use export::Exporter;
use overrides::Overrides;
use roster::Roster;
use source::GatewayState;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};

/// Signals that may wait for the authority: a burst of faults from every request under way.
const SIGNALS: usize = 16_384;
/// Messages to the keeper that may wait.
const TO_KEEPER: usize = 256;
/// How often the keeper hears that we live.
const ALIVE: Duration = Duration::from_secs(1);
/// How often certificate files are looked at.
const TLS_LOOK: Duration = Duration::from_secs(2);

/// Runs the gateway process, started by the keeper with the link as standard input.
pub(crate) fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evenkeel: gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn start() -> Result<(), Failure> {
    // Whatever kills the keeper ends us, too, even while this process is stopped.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let sockets = link::receive_sockets(&link)
        .map_err(|e| format!("this command is for the keeper only ({e}); use `evenkeel up`"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(link, sockets))
}

/// Sockets by purpose: one list of sockets per worker, and the admin's.
struct Sorted {
    workers: BTreeMap<usize, Vec<TcpListener>>,
    admin: Vec<TcpListener>,
}

fn sort(sockets: Vec<(Purpose, TcpListener)>) -> Sorted {
    let mut sorted = Sorted { workers: BTreeMap::new(), admin: Vec::new() };
    for (purpose, socket) in sockets {
        match purpose {
            Purpose::Clients { worker } => sorted.workers.entry(worker).or_default().push(socket),
            Purpose::Admin => sorted.admin.push(socket),
        }
    }
    sorted
}

async fn run(link: UnixStream, sockets: Vec<(Purpose, TcpListener)>) -> Result<(), Failure> {
    let (mut reader, writer) = link::split(link)?;
    let Some(ToGateway::Config { path, text, generation }) = reader.next().await? else {
        return Err("the keeper sent no configuration".into());
    };
    let config = config::parse(&path, &text)?;
    logging::init(config.log.format, config.log.level.as_deref());
    let sorted = sort(sockets);
    let events = Arc::new(EventLog::default());
    let signals = mpsc::channel(SIGNALS);
    let access = access_log(&config)?;
    let (tracer, exporter) = export::start(&config.trace)?.unzip();
    let settings = GatewaySettings {
        limits: config.gateway.limits.clone(),
        cors: config.gateway.cors.clone(),
        access_log: access.is_some(),
    };
    let shared = Shared::new(settings, signals.0.clone(), events.clone(), access, tracer);
    let runner = Runner::new(signals.0.clone());
    let (authority, handle) = Authority::new(signals, events.clone(), runner);
    tokio::spawn(authority.run());
    let (to_keeper, outbox) = mpsc::channel(TO_KEEPER);
    tokio::spawn(write(writer, outbox));
    let state = Arc::new(GatewayState::new(shared.clone(), config::state_dir(&config)));
    state.set_generation(generation);
    let overrides = Overrides::load(&state.state_dir, handle.clone()).await;
    let mut roster = Roster::new(shared.clone(), handle, state.clone());
    roster.configure(&config).await?;
    start_workers(&shared, sorted.workers, &config)?;
    let admin_ends = watch::Sender::new(false);
    let control = GatewayControl::new(state.clone(), overrides.clone(), to_keeper.clone());
    let ends = admin_ends.subscribe();
    start_admin(&config, sorted.admin, &state, overrides, control.clone(), ends)?;
    to_keeper.send(ToKeeper::Ready).await?;
    let marked = HashMap::new();
    let main =
        Main { shared, events, state, roster, to_keeper, exporter, marked, control, admin_ends };
    main.run(reader, config.gateway.drain).await
}

async fn write(mut writer: Writer, mut outbox: mpsc::Receiver<ToKeeper>) {
    while let Some(message) = outbox.recv().await {
        if writer.send(&message).await.is_err() {
            return;
        }
    }
}

fn access_log(config: &Config) -> Result<Option<AccessLog>, Failure> {
    let to: Box<dyn Write + Send> = match config.log.access.0.as_str() {
        "off" | "" => return Ok(None),
        "stdout" => Box::new(io::stdout()),
        path => {
            let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
            Box::new(open.map_err(|e| format!("access log {path}: {e}"))?)
        }
    };
    let json = config.log.format == config::LogFormat::Json;
    Ok(Some(AccessLog::start(to, json)?))
}

fn server_tls(files: Option<&TlsConfig>) -> Result<Option<Arc<rustls::ServerConfig>>, Failure> {
    let Some(files) = files else { return Ok(None) };
    let identity = ServerIdentity::load(&files.cert, &files.key)?;
    let config = tls::server(identity.clone(), files.client_ca.as_deref())?;
    tokio::spawn(follow(identity));
    Ok(Some(config))
}

/// Reads a certificate again when its files change.
async fn follow(identity: Arc<ServerIdentity>) {
    let mut seen = stamps(&identity);
    let mut tick = tokio::time::interval(TLS_LOOK);
    loop {
        tick.tick().await;
        let now = stamps(&identity);
        if now == seen {
            continue;
        }
        match identity.reload() {
            Ok(()) => {
                tracing::info!("certificate reloaded");
                seen = now;
            }
            // Files are often replaced one after the other: the next look may find a pair.
            Err(error) => tracing::warn!(%error, "certificate not reloaded; the old one stays"),
        }
    }
}

fn stamps(identity: &ServerIdentity) -> [Option<SystemTime>; 2] {
    identity.files().map(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok())
}

fn start_workers(
    shared: &Arc<Shared>,
    workers: BTreeMap<usize, Vec<TcpListener>>,
    config: &Config,
) -> Result<(), Failure> {
    let tls = server_tls(config.gateway.tls.as_ref())?;
    for (index, sockets) in workers {
        let listeners =
            sockets.into_iter().map(|socket| Listener { socket, tls: tls.clone() }).collect();
        let thread = worker::start(index, shared.clone(), listeners)?;
        // A worker that ends while nobody drains takes the process with it: the keeper
        // starts a whole one.
        let shared = shared.clone();
        std::thread::Builder::new().name(format!("watch-{index}")).spawn(move || {
            let ended = thread.join();
            if !*shared.draining.borrow() {
                tracing::error!(worker = index, ?ended, "worker ended; restarting the gateway");
                std::process::exit(70);
            }
        })?;
    }
    Ok(())
}

fn start_admin(
    config: &Config,
    sockets: Vec<TcpListener>,
    state: &Arc<GatewayState>,
    overrides: Arc<Overrides>,
    control: GatewayControl,
    mut ends: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let token = match &config.admin.token_file {
        Some(path) => Some(replicas::read_secret(path)?),
        None => None,
    };
    let admin = AdminState {
        source: Arc::new(source::GatewaySource::new(state.clone(), overrides)),
        control: Arc::new(control),
        events: state.shared.events.clone(),
        token,
        version: env!("CARGO_PKG_VERSION"),
        hosts: Vec::new(),
    };
    let mut listeners = Vec::new();
    for socket in sockets {
        socket.set_nonblocking(true)?;
        listeners.push(tokio::net::TcpListener::from_std(socket)?);
    }
    let tls = server_tls(config.admin.tls.as_ref())?;
    tokio::spawn(async move {
        let ended = async move {
            let _ = ends.wait_for(|ends| *ends).await;
        };
        if let Err(error) = evenkeel_admin::serve(admin, listeners, tls, ended).await {
            tracing::error!(%error, "the admin API ended; serving goes on");
        }
    });
    Ok(())
}

/// The main thread's loop.
struct Main {
    shared: Arc<Shared>,
    events: Arc<EventLog>,
    state: Arc<GatewayState>,
    roster: Roster,
    to_keeper: mpsc::Sender<ToKeeper>,
    exporter: Option<Exporter>,
    /// Incarnations reported as ready.
    marked: HashMap<String, u64>,
    /// Carries orders out.
    control: GatewayControl,
    /// Set when operators are to be answered by another gateway.
    admin_ends: watch::Sender<bool>,
}

impl Main {
    async fn run(mut self, mut reader: Reader, drain: Duration) -> Result<(), Failure> {
        let mut alive = tokio::time::interval(ALIVE);
        let mut happened = self.events.watch();
        loop {
            tokio::select! {
                message = reader.next::<ToGateway>() => match message? {
                    // The keeper is gone, and with it all that we stand in front of.
                    None => return Err("the keeper is gone".into()),
                    Some(ToGateway::Drain { replaced }) => {
                        self.admin_ends.send_replace(replaced);
                        self.drain(drain).await;
                        if let Some(exporter) = self.exporter.take() {
                            exporter.finish().await;
                        }
                        return Ok(());
                    }
                    Some(message) => self.on_message(message).await,
                },
                _ = happened.changed() => self.report_ready(),
                () = self.roster.discovered() => self.roster.refill().await,
                _ = alive.tick() => {
                    let _ = self.to_keeper.try_send(ToKeeper::Alive);
                }
            }
        }
    }

    async fn on_message(&mut self, message: ToGateway) {
        match message {
            ToGateway::Config { path, text, generation } => {
                self.reload(path, &text, generation).await;
            }
            ToGateway::Refused { why } => self.refused(why),
            ToGateway::Instances(statuses) => self.instances(statuses).await,
            ToGateway::Renew { outdated } => self.control.renew(outdated),
            ToGateway::Drain { .. } => {}
        }
    }

    async fn reload(&mut self, path: PathBuf, text: &str, generation: u64) {
        let result = match config::parse(&path, text) {
            Ok(config) => self.roster.configure(&config).await.map_err(|e| e.to_string()),
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

    /// Tells the keeper which supervised replicas answer.
    fn report_ready(&mut self) {
        for (name, incarnation, health) in self.roster.supervised() {
            let answers = matches!(health, Health::Healthy | Health::Probation);
            if answers && self.marked.get(&name) != Some(&incarnation) {
                let message = ToKeeper::MarkReady { name: name.clone(), incarnation };
                if self.to_keeper.try_send(message).is_ok() {
                    self.marked.insert(name, incarnation);
                }
            }
        }
    }

    /// Stops accepting and waits for what runs.
    async fn drain(&self, limit: Duration) {
        self.events.push(EventKind::Draining);
        self.shared.draining.send_replace(true);
        let until = clock::now() + limit;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while clock::now() < until {
            look.tick().await;
            if self.shared.connections.load(std::sync::atomic::Ordering::Relaxed) == 0 {
                return;
            }
        }
        tracing::warn!(?limit, "answers under way did not end in time");
    }
}
