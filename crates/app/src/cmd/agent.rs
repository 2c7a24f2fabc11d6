//! `evenkeel agent`: runs replicas and jobs of this host for a keeper on another one.

use super::fail;
use super::up::raise_file_limit;
use crate::config::{self, Config, LogFormat};
use crate::logging;
use evenkeel_agent::serve::{AgentSettings, serve};
use evenkeel_agent::{Bundle, Follow, Host};
use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use evenkeel_domain::orchestrator::Orchestrator;
use evenkeel_domain::rng;
use evenkeel_supervisor::{RestartPolicy, Supervisor, SupervisorSettings, job::Jobs, logs};
use sd_notify::NotifyState;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Replicas and jobs get this long to end when the agent stops.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Arguments of `evenkeel agent`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file that `evenkeel node new` has made for this host
    bundle: PathBuf,
    /// Address to listen on; by default all of this host's, with the port of its address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Directory for logs of replicas and the state of jobs
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// A program that may be run, as commands name it; may be repeated. Any without it
    #[arg(long, value_name = "PROGRAM")]
    allow: Vec<String>,
    /// Log lines as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> ExitCode {
    let bundle = match Bundle::read(&args.bundle) {
        Ok(bundle) => bundle,
        Err(error) => return fail(&error),
    };
    logging::init(if args.json { LogFormat::Json } else { LogFormat::Text }, None);
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|e| e.to_string()).and_then(|rt| rt.block_on(work(args, bundle))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

async fn work(args: Args, bundle: Bundle) -> Result<(), String> {
    let default_dir = || config::state_dir(&Config::default()).join("agent").join(&bundle.node);
    let state_dir = args.state_dir.clone().unwrap_or_else(default_dir);
    let port = bundle.address.rsplit_once(':').map_or("", |(_, port)| port);
    let listen = args.listen.clone().unwrap_or_else(|| format!("0.0.0.0:{port}"));
    let listener = TcpListener::bind(&listen).await.map_err(|e| {
        format!("cannot listen on {listen}: {e}; choose an address of this host with --listen")
    })?;
    let node = Arc::new(Node::new(&state_dir)?);
    let settings = AgentSettings { state_dir, allow: args.allow, life: rng::from_os().u64(1..) };
    let caught = |e: io::Error| format!("signals cannot be caught: {e}");
    let mut term = signal(SignalKind::terminate()).map_err(caught)?;
    let mut int = signal(SignalKind::interrupt()).map_err(caught)?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    tracing::info!(node = bundle.node, %address, pid = std::process::id(), "agent listens");
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let ended = tokio::select! {
        ended = serve(listener, bundle, settings, node.clone()) => ended.map_err(|e| e.to_string()),
        () = asked(&mut term, &mut int) => Ok(()),
    };
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping: what runs here is ended");
    tokio::select! {
        () = node.shutdown() => {}
        () = asked(&mut term, &mut int) => {}
    }
    ended
}

async fn asked(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// This host, as an agent commands it.
struct Node {
    supervisor: Supervisor,
    jobs: Mutex<Jobs>,
    logs: PathBuf,
    job_logs: PathBuf,
}

impl Node {
    fn new(state_dir: &Path) -> Result<Self, String> {
        let (logs, jobs) = (state_dir.join("logs"), state_dir.join("jobs"));
        let settings = SupervisorSettings {
            guard_command: vec!["/proc/self/exe".into(), "guard".into()],
            log_dir: logs.clone(),
            restart: RestartPolicy::default(),
        };
        let supervisor = Supervisor::new(settings, rng::from_os()).map_err(|e| e.to_string())?;
        let job_logs = jobs.join("logs");
        let beside = supervisor.beside(job_logs.clone()).map_err(|e| e.to_string())?;
        Ok(Self { supervisor, jobs: Mutex::new(Jobs::new(beside, jobs)), logs, job_logs })
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_of(&self, name: &str) -> io::Result<PathBuf> {
        if self.jobs().statuses().iter().any(|job| job.name == name) {
            return Ok(logs::log_path(&self.job_logs, name));
        }
        if self.supervisor.statuses().iter().any(|status| status.name == name) {
            return Ok(logs::log_path(&self.logs, name));
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} does not run on this node")))
    }

    async fn shutdown(&self) {
        let jobs = self.jobs().end();
        tokio::join!(self.supervisor.shutdown(STOP_WITHIN), jobs.shutdown(STOP_WITHIN));
    }
}

impl Host for Node {
    fn orchestrator(&self) -> &dyn Orchestrator {
        &self.supervisor
    }

    fn jobs(&self, all: Vec<JobSettings>) {
        self.jobs().apply(all);
    }

    fn order(&self, job: &str, order: JobOrder) -> bool {
        self.jobs().order(job, order)
    }

    fn job_statuses(&self) -> watch::Receiver<Vec<JobStatus>> {
        self.jobs().subscribe()
    }

    fn tail(&self, name: &str, n: usize) -> io::Result<Vec<String>> {
        logs::tail(&self.log_of(name)?, n)
    }

    fn follow(&self, name: &str) -> io::Result<Follow> {
        let mut follower = logs::Follower::new(&self.log_of(name)?)?;
        Ok(Box::new(move || follower.poll()))
    }
}
