//! One supervised replica: a task that makes its wish come true, and nobody else's.
//!
//! ```text
//!              ┌────────────── wait (back-off) ◄──────────────┐
//!              ▼                                              │ it ended
//!   idle ──► launch ──► watch: starting ─ready─► watch: ready ┤
//!    ▲                     │ not ready in time: kill ─────────┘
//!    └───── stop ◄─────────┘ whenever the wish says so
//! ```
//!
//! What is wanted is a level, not a queue of commands: a watch channel holds the
//! latest wish, and each state looks whether it still agrees with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_domain::clock;
use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, Phase};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::board::Board;
use crate::ports::{self, Lease, Ports};
use crate::process::GuardProcess;
use crate::restart::{RestartHistory, RestartPolicy};
use crate::run::{Ending, Run};
use crate::spec;
use crate::wire::Launch;

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Run,
    Stop,
    /// Stop, and forget it.
    Remove,
    /// Stop, and end the task: the keeper is shutting down.
    Quit,
}

/// The latest wish.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) want: Want,
    pub(crate) spec: Arc<InstanceSpec>,
    /// Grows when a running process must be replaced.
    pub(crate) turn: u64,
    /// The incarnation that was found ready last.
    pub(crate) ready: u64,
    /// Instead of the spec's `stop_grace`.
    pub(crate) grace: Option<Duration>,
}

impl Wish {
    pub(crate) fn stop_grace(&self) -> Duration {
        self.grace.unwrap_or(self.spec.stop_grace)
    }
}

/// What all instances have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) guard_command: Vec<OsString>,
    pub(crate) log_dir: PathBuf,
    pub(crate) policy: RestartPolicy,
    pub(crate) ports: Ports,
    pub(crate) board: Board,
}

/// What an instance does next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    Idle,
    Launch,
    Wait(Instant),
    /// What is run once has ended.
    Over,
    End,
}

/// The task's state between two runs.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wish: watch::Receiver<Wish>,
    turn: u64,
    incarnation: u64,
    history: RestartHistory,
    lease: Option<Lease>,
    rng: fastrand::Rng,
}

impl Instance {
    pub(crate) fn new(
        shared: Arc<Shared>,
        wish: watch::Receiver<Wish>,
        rng: fastrand::Rng,
    ) -> Self {
        let name = wish.borrow().spec.name.clone();
        let (turn, incarnation, history, lease) = (0, 0, RestartHistory::default(), None);
        Self { name, shared, wish, turn, incarnation, history, lease, rng }
    }

    /// Runs until it is removed or the keeper shuts down. `retire` settles whether it
    /// is really over: the wish may have changed at the last moment.
    pub(crate) async fn run(mut self, retire: impl Fn(&str) -> bool) {
        let mut next = self.contradicted().unwrap_or(Next::Idle);
        loop {
            next = match next {
                Next::Idle => self.idle().await,
                Next::Launch => self.launch().await,
                Next::Wait(until) => self.wait(until).await,
                Next::Over => self.over().await,
                Next::End if retire(&self.name) => return,
                Next::End => self.contradicted().unwrap_or(Next::Idle),
            };
        }
    }

    /// What the wish says, if that is not what is being done.
    pub(crate) fn contradicted(&mut self) -> Option<Next> {
        let wish = self.wish.borrow_and_update();
        match wish.want {
            Want::Remove | Want::Quit => Some(Next::End),
            Want::Stop => Some(Next::Idle),
            Want::Run if wish.turn != self.turn => Some(Next::Launch),
            Want::Run => None,
        }
    }

    /// Changes this instance's entry on the board.
    pub(crate) fn show(&self, change: impl FnOnce(&mut InstanceStatus)) {
        self.shared.board.update(&self.name, change);
    }

    async fn idle(&mut self) -> Next {
        self.show(|status| status.phase = Phase::Stopped);
        loop {
            match self.contradicted() {
                Some(Next::Idle) => {}
                Some(next) => return next,
                None => return Next::Launch,
            }
            if self.wish.changed().await.is_err() {
                return Next::End;
            }
        }
    }

    /// Waits until it is wanted again.
    async fn over(&mut self) -> Next {
        loop {
            if let Some(next) = self.contradicted() {
                return next;
            }
            if self.wish.changed().await.is_err() {
                return Next::End;
            }
        }
    }

    async fn wait(&mut self, until: Instant) -> Next {
        loop {
            if let Some(next) = self.contradicted() {
                return next;
            }
            tokio::select! {
                () = sleep_until(until) => return Next::Launch,
                changed = self.wish.changed() => if changed.is_err() { return Next::End },
            }
        }
    }

    async fn launch(&mut self) -> Next {
        let wish = self.wish.borrow_and_update().clone();
        if wish.turn != self.turn {
            self.turn = wish.turn;
            self.history.clear();
        }
        let port = match self.choose_port(&wish.spec) {
            Ok(port) => port,
            Err(message) => return self.failed(message),
        };
        self.incarnation += 1;
        let launch = self.describe(&wish.spec, port);
        let since = clock::unix_millis();
        let deadline = u64::try_from(wish.spec.startup_deadline.as_millis()).unwrap_or(u64::MAX);
        self.show(|status| {
            status.phase =
                Phase::Starting { since_ms: since, deadline_ms: since.saturating_add(deadline) };
            status.service.clone_from(&wish.spec.service);
            status.port = Some(port);
            status.incarnation = self.incarnation;
            status.restarts = self.incarnation.saturating_sub(1);
            status.crash_loop = self.history.crash_loop();
            status.progress = None;
            status.started_ms = Some(since);
            status.log = Some(launch.log.clone());
        });
        let next = match GuardProcess::start(&self.shared.guard_command, &launch).await {
            Ok(guard) => {
                self.show(|status| status.guard_pid = Some(guard.pid()));
                let ending = Run::new(self, guard, self.incarnation).watch().await;
                self.after(ending)
            }
            Err(error) => self.failed(format!("cannot start a guard for {}: {error}", self.name)),
        };
        self.show(|status| {
            (status.pid, status.guard_pid, status.started_ms) = (None, None, None);
        });
        next
    }

    fn describe(&self, spec: &InstanceSpec, port: u16) -> Launch {
        let (command, env) = spec::fill(spec, port);
        Launch {
            name: self.name.clone(),
            incarnation: self.incarnation,
            command,
            env,
            cwd: spec.cwd.clone(),
            user: spec.user.clone(),
            log: crate::logs::log_path(&self.shared.log_dir, &self.name),
            log_settings: spec.log.clone(),
        }
    }

    /// The port for the next start. One that somebody else listens on is no good: the
    /// server could not bind it, and a probe would take the stranger for the server.
    fn choose_port(&mut self, spec: &InstanceSpec) -> Result<u16, String> {
        if let Some(port) = spec.port {
            self.lease = None;
            return if ports::is_free(port) {
                Ok(port)
            } else {
                Err(port_in_use(&self.name, port))
            };
        }
        if self.lease.as_ref().is_none_or(|lease| !ports::is_free(lease.port)) {
            // The new one is taken before the old one is given back.
            self.lease = self.shared.ports.lease(&self.name);
        }
        self.lease
            .as_ref()
            .map(|lease| lease.port)
            .ok_or_else(|| format!("cannot start {}: no port is free on this machine", self.name))
    }

    /// Decides what follows a run.
    fn after(&mut self, ending: Ending) -> Next {
        match ending {
            Ending::AsWished => self.contradicted().unwrap_or(Next::Launch),
            Ending::CannotStart(message) => self.failed(message),
            Ending::Ended { how, code, tail, .. } if self.once() => {
                let name = &self.name;
                tracing::info!(name, how, "a job ended");
                self.show(|status| {
                    status.phase = Phase::Stopped;
                    status.ends += 1;
                    (status.last_exit, status.last_code) = (Some(how), code);
                    status.last_lines = tail;
                });
                Next::Over
            }
            Ending::Ended { how, code, tail, ready_since, early } => {
                if early {
                    // Perhaps it could not bind its port: something may hold it in a
                    // way that we do not see.
                    self.lease = self.shared.ports.lease(&self.name);
                }
                let jitter = self.rng.f64();
                let now = clock::now();
                let decision = self.history.on_end(&self.shared.policy, ready_since, now, jitter);
                let name = &self.name;
                tracing::warn!(name, how, wait = ?decision.wait, "a replica ended");
                self.show(|status| {
                    let until_ms = after_ms(decision.wait);
                    status.phase = match decision.crash_loop {
                        true => Phase::CrashLoop { until_ms },
                        false => Phase::Backoff { until_ms },
                    };
                    status.crash_loop = decision.crash_loop;
                    status.ends += 1;
                    (status.last_exit, status.last_code) = (Some(how), code);
                    status.last_lines = tail;
                });
                Next::Wait(Instant::now() + decision.wait)
            }
        }
    }

    /// It cannot be started. Tried again at the longest back-off: what was missing may
    /// turn up (a file system that is mounted late).
    fn failed(&mut self, message: String) -> Next {
        let wait = self.shared.policy.cap;
        let known = self.shared.board.get(&self.name).and_then(|status| status.last_exit);
        if known.as_ref() != Some(&message) {
            tracing::error!(name = self.name, "{message}");
        }
        self.show(|status| {
            status.last_exit = Some(message.clone());
            status.phase = Phase::Failed { message, until_ms: after_ms(wait) };
        });
        if self.once() { Next::Over } else { Next::Wait(Instant::now() + wait) }
    }

    fn once(&self) -> bool {
        self.wish.borrow().spec.once
    }
}

fn port_in_use(name: &str, port: u16) -> String {
    format!(
        "cannot start {name}: port {port} is in use; stop what listens there \
         (`ss -ltnp sport = :{port}` names it) or give {name} another `port`"
    )
}

fn after_ms(wait: Duration) -> u64 {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    clock::unix_millis().saturating_add(wait)
}
