//! The gateway process: workers on threads of their own, and on the main thread all that
//! watches them: the health authority, probes, the roster, the admin API.
//!
//! ```text
//! main thread: link ─► roster ─► pools ◄─ authority ◄─ signals
//!                                  ▲                      │
//! worker threads:               table, picks ─────────────┘
//! ```
//! The workers go on when anything on the main thread is slow or dead.

mod accounts;
pub(crate) mod alerts;
mod batch;
mod checks;
mod control;
mod degrade;
mod discover;
mod export;
mod forecast;
mod main_thread;
mod nodes;
mod orders;
mod otlp;
mod overrides;
mod recovery;
mod roster;
mod scale;
mod slo;
mod source;
mod standby;

use crate::config::{self, Config, TlsConfig, replicas};
use crate::link::{self, Purpose, ToGateway, ToKeeper, Writer};
use crate::logging;
use alerts::Alerts;
use batch::Batches;
use control::GatewayControl;
use evenkeel_admin::AdminState;
use evenkeel_domain::event::EventLog;
use evenkeel_gateway::access_log::AccessLog;
use evenkeel_gateway::{GatewaySettings, Listener, Shared, worker};
use evenkeel_health::Authority;
use evenkeel_health::check::Checks;
use evenkeel_health::probe::runner::Runner;
use evenkeel_wire::tls::{self, ServerIdentity};
use evenkeel_wire::within;
use forecast::Forecasts;
use main_thread::Main;
use orders::Orders;
use overrides::Overrides;
use recovery::{Heal, Recovery};
use roster::Roster;
use scale::Scaling;
use slo::Account;
use source::GatewayState;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Signals that may wait for the authority: a burst of faults from every request under way.
const SIGNALS: usize = 16_384;
/// Messages to the keeper that may wait.
const TO_KEEPER: usize = 256;
/// How long operators' calls under way may take when all else is done.
const ADMIN_ENDS: Duration = Duration::from_secs(1);
/// How long the store may take to close.
const STORE_ENDS: Duration = Duration::from_secs(1);
/// How long checks may take to end, and the scripts that they run.
const CHECKS_END: Duration = Duration::from_millis(500);
/// Lines of batches that may wait to be taken by one worker.
const LINES: usize = 64;
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
    let ended = runtime.block_on(run(link, sockets));
    // Not waited for: a resolver may be stuck for minutes.
    runtime.shutdown_background();
    ended
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
    let Some(ToGateway::Config { path, sources, generation }) = reader.next().await? else {
        return Err("the keeper sent no configuration".into());
    };
    let config = sources.parse(&path)?;
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
    let to_authority = signals.0.clone();
    let (authority, handle) = Authority::new(signals, events.clone(), runner);
    tokio::spawn(authority.run());
    let (to_keeper, outbox) = mpsc::channel(TO_KEEPER);
    tokio::spawn(write(writer, outbox));
    let state = Arc::new(GatewayState::new(shared.clone(), config::state_dir(&config)));
    state.set_generation(generation);
    let overrides = Overrides::load(&state.state_dir, handle.clone()).await;
    let (dialers, listeners) = sorted.workers.keys().map(|_| within::pair(LINES)).unzip();
    let batches = batch::start(&config, &state, dialers).await?;
    let within = batches.as_ref().map(Batches::within);
    let authority = handle.clone();
    let mut roster = Roster::new(shared.clone(), handle, state.clone(), within);
    roster.configure(&config).await?;
    let members = Arc::new(checks::GatewayMembers(state.clone()));
    let checks = Arc::new(Checks::start(members, to_authority, events.clone())?);
    checks.configure(config::all_checks(&config));
    state.set_checks(checks.clone());
    let workers = start_workers(&shared, sorted.workers, listeners, &config)?;
    let admin_ends = watch::Sender::new(false);
    let drain = config.gateway.drain;
    let levels = Orders::load(&state.state_dir, "degrade.json");
    let sizes = Orders::load(&state.state_dir, "scale.json");
    tokio::spawn(degrade::run(state.clone(), levels.clone()));
    let control =
        GatewayControl::new(state.clone(), overrides.clone(), levels, to_keeper.clone(), drain)
            .scaling(sizes.clone());
    let ends = admin_ends.subscribe();
    let recovery = Recovery::new(&config, &state);
    let (standbys, standing_by) =
        standby::Runner::new(&config, &state, authority, recovery.clone(), to_keeper.clone());
    tokio::spawn(standbys.run());
    recovery.set_standbys(standing_by.clone());
    state.set_standbys(standing_by.clone());
    let scaling = Scaling::new(&config, &state, recovery.board.clone(), sizes, to_keeper.clone());
    tokio::spawn(scaling.clone().run());
    let forecasts = Forecasts::new(&config, &state);
    tokio::spawn(forecasts.clone().run());
    let renewing = control.clone();
    let account = Account::new(&state, &overrides, &recovery);
    state.set_account(account.clone());
    let (alerts, inbox) = Alerts::new(&config, &state, &overrides, &recovery, &account);
    let orders = (overrides.clone(), control.clone(), recovery.clone(), alerts.clone());
    let admin = start_admin(&config, sorted.admin, &state, orders, ends)?;
    to_keeper.send(ToKeeper::Ready).await?;
    // Not before: until then an older gateway heals.
    let journal = config::journal_path(&config);
    if let Err(error) = recovery.start(journal, overrides, renewing, to_keeper.clone()) {
        recovery.board.broken(&error.to_string());
    }
    if let Err(error) = account.start(config::account_path(&config)) {
        account.broken(&error.to_string());
    }
    // It has said so where it cannot: serving goes on.
    let _ = alerts.start(config::alerts_path(&config), inbox);
    let main = Main {
        shared,
        events,
        state,
        roster,
        to_keeper,
        workers,
        drain,
        drained_by: None,
        marked: HashMap::new(),
        idling: JoinSet::new(),
        control,
        recovery: recovery.clone(),
        scaling,
        forecasts,
        alerts: alerts.clone(),
        admin_ends: admin_ends.clone(),
    };
    main.run(reader).await?;
    admin_ends.send_replace(true);
    let _ = timeout(ADMIN_ENDS, admin).await;
    recovery.end(STORE_ENDS).await;
    account.end(STORE_ENDS).await;
    alerts.end(STORE_ENDS).await;
    checks.end(CHECKS_END).await;
    if let Some(batches) = batches {
        batches.end(STORE_ENDS).await;
    }
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(())
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

/// Closed when the last worker has ended, which they do once they have drained.
type Workers = mpsc::Receiver<Infallible>;

fn start_workers(
    shared: &Arc<Shared>,
    workers: BTreeMap<usize, Vec<TcpListener>>,
    within: Vec<within::Listener>,
    config: &Config,
) -> Result<Workers, Failure> {
    let tls = server_tls(config.gateway.tls.as_ref())?;
    let (alive, ended) = mpsc::channel(1);
    for ((index, sockets), within) in workers.into_iter().zip(within) {
        let listeners =
            sockets.into_iter().map(|socket| Listener { socket, tls: tls.clone() }).collect();
        let thread = worker::start(index, shared.clone(), listeners, within)?;
        // A worker that ends while nobody drains takes the process with it: the keeper
        // starts a whole one.
        let (shared, alive) = (shared.clone(), alive.clone());
        std::thread::Builder::new().name(format!("watch-{index}")).spawn(move || {
            let ended = thread.join();
            if !*shared.draining.borrow() {
                tracing::error!(worker = index, ?ended, "worker ended; restarting the gateway");
                std::process::exit(70);
            }
            drop(alive);
        })?;
    }
    Ok(ended)
}

/// What people order about.
type Orderable = (Arc<Overrides>, GatewayControl, Arc<Recovery>, Arc<Alerts>);

fn start_admin(
    config: &Config,
    sockets: Vec<TcpListener>,
    state: &Arc<GatewayState>,
    (overrides, control, recovery, alerts): Orderable,
    mut ends: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Failure> {
    let token = match &config.admin.token_file {
        Some(path) => Some(replicas::read_secret(path)?),
        None => None,
    };
    let admin = AdminState {
        source: Arc::new(source::GatewaySource::new(state.clone(), overrides)),
        control: Arc::new(control),
        recovery: Some(Arc::new(Heal(recovery))),
        alerts: Some(Arc::new(alerts::Ask(alerts))),
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
    Ok(tokio::spawn(async move {
        let ended = async move {
            let _ = ends.wait_for(|ends| *ends).await;
        };
        if let Err(error) = evenkeel_admin::serve(admin, listeners, tls, ended).await {
            tracing::error!(%error, "the admin API ended; serving goes on");
        }
    }))
}
