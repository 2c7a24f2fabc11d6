//! One run of an instance, from its guard's start to the end of all it started.

use std::time::Duration;

use evenkeel_domain::clock;
use evenkeel_domain::orchestrator::Phase;
use tokio::time::{Instant, sleep_until};

use crate::instance::{Instance, Wish};
use crate::process::GuardProcess;
use crate::sweep::sweep;
use crate::wire::{Order, Report};

/// A guard gives up killing after 10 s; one that has not answered by then is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(15);
/// A run that ends sooner than this without having been ready may have found its port
/// taken.
const EARLY: Duration = Duration::from_secs(10);

/// How a run ended.
pub(crate) enum Ending {
    /// It was asked to.
    AsWished,
    /// It never began; why, and what helps.
    CannotStart(String),
    /// Nobody had asked it to.
    Ended {
        how: String,
        code: Option<i32>,
        tail: Vec<String>,
        ready_since: Option<std::time::Instant>,
        /// See [`EARLY`].
        early: bool,
    },
}

/// What the guard's last word was.
enum Last {
    /// It ended so, but for the processes in `left`, which would not.
    Exited {
        how: String,
        code: Option<i32>,
        left: Vec<u32>,
        tail: Vec<String>,
    },
    CannotStart(String),
}

/// A run in progress.
pub(crate) struct Run<'a> {
    instance: &'a mut Instance,
    guard: GuardProcess,
    incarnation: u64,
    started: Instant,
    pid: Option<u32>,
    ready_since: Option<std::time::Instant>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(instance: &'a mut Instance, guard: GuardProcess, incarnation: u64) -> Self {
        let (started, pid, ready_since) = (Instant::now(), None, None);
        Self { instance, guard, incarnation, started, pid, ready_since }
    }

    /// Follows the run to its end.
    pub(crate) async fn watch(mut self) -> Ending {
        loop {
            let contradicted = self.instance.contradicted().is_some();
            let wish = self.instance.wish.borrow().clone();
            if contradicted {
                return self.stop().await;
            }
            if wish.ready == self.incarnation && self.ready_since.is_none() {
                self.ready().await;
            }
            let deadline = self.started + wish.spec.startup_deadline;
            tokio::select! {
                report = self.guard.report() => {
                    if let Some(last) = self.hear(report).await {
                        return self.ending(last);
                    }
                }
                // Nobody is left who could wish for anything.
                changed = self.instance.wish.changed() => if changed.is_err() {
                    return self.stop().await;
                },
                () = sleep_until(deadline), if self.ready_since.is_none() => {
                    return self.too_late(&wish).await;
                }
            }
        }
    }

    async fn ready(&mut self) {
        self.ready_since = Some(clock::now());
        self.instance.show(|status| {
            status.phase = Phase::Ready;
            status.progress = None;
        });
        self.guard.order(Order::Ready).await;
    }

    /// Takes in a report. Answers with the last word, once it has been said.
    async fn hear(&mut self, report: Option<Report>) -> Option<Last> {
        match report {
            Some(Report::Started { pid }) => {
                self.pid = Some(pid);
                self.instance.show(|status| status.pid = Some(pid));
                let name = &self.instance.name;
                tracing::info!(name, pid, incarnation = self.incarnation, "a replica was started");
                None
            }
            Some(Report::Progress { line }) => {
                if self.ready_since.is_none() {
                    self.instance.show(|status| status.progress = Some(line));
                }
                None
            }
            Some(Report::Failed { message }) => {
                self.guard.reap().await;
                Some(Last::CannotStart(message))
            }
            Some(Report::Exited { code, signal, left, tail }) => {
                self.guard.reap().await;
                Some(Last::Exited { how: how(code, signal), code, left, tail })
            }
            None => {
                self.guard.kill().await;
                let left = sweep(self.guard.lost(self.pid)).await;
                let how = "its guard was killed, and it with it".to_owned();
                Some(Last::Exited { how, code: None, left, tail: Vec::new() })
            }
        }
    }

    fn ending(&self, last: Last) -> Ending {
        match last {
            Last::CannotStart(message) => Ending::CannotStart(message),
            Last::Exited { how, code, left, tail } => self.ended(&how, code, &left, tail),
        }
    }

    fn ended(&self, how: &str, code: Option<i32>, left: &[u32], tail: Vec<String>) -> Ending {
        let how = self.tell(how, left);
        let early = self.ready_since.is_none() && self.started.elapsed() < EARLY;
        Ending::Ended { how, code, tail, ready_since: self.ready_since, early }
    }

    async fn too_late(mut self, wish: &Wish) -> Ending {
        let deadline = wish.spec.startup_deadline;
        let how = format!(
            "was not ready within {}, so it was killed; if it needs longer, raise its \
             startup deadline",
            humantime::format_duration(deadline)
        );
        match self.kill().await {
            Last::Exited { left, tail, .. } => self.ended(&how, None, &left, tail),
            last @ Last::CannotStart(_) => self.ending(last),
        }
    }

    /// Asks it to end, gives it time, and kills it then.
    async fn stop(mut self) -> Ending {
        self.instance.show(|status| status.phase = Phase::Stopping);
        let began = Instant::now();
        self.guard.order(Order::Term).await;
        let mut watched = true;
        let last = loop {
            // A shutdown may shorten the grace while it runs.
            let grace = self.instance.wish.borrow_and_update().stop_grace();
            tokio::select! {
                report = self.guard.report() => {
                    if let Some(last) = self.hear(report).await {
                        break last;
                    }
                }
                changed = self.instance.wish.changed(), if watched => watched = changed.is_ok(),
                () = sleep_until(began + grace) => break self.kill_after(grace).await,
            }
        };
        let how = match last {
            Last::Exited { how, left, .. } => self.tell(&how, &left),
            Last::CannotStart(message) => message,
        };
        let name = &self.instance.name;
        tracing::info!(name, how, "a replica was stopped");
        self.instance.show(|status| status.last_exit = Some(how));
        Ending::AsWished
    }

    async fn kill_after(&mut self, grace: Duration) -> Last {
        let last = self.kill().await;
        let Last::Exited { left, tail, .. } = last else { return last };
        let grace = humantime::format_duration(grace);
        let how = format!("did not end within {grace} of being asked: killed by SIGKILL");
        Last::Exited { how, code: None, left, tail }
    }

    /// Kills the whole tree, by the guard or, if that does not work, around it.
    async fn kill(&mut self) -> Last {
        self.guard.order(Order::Kill).await;
        let give_up = Instant::now() + KILL_PATIENCE;
        loop {
            let report = tokio::time::timeout_at(give_up, self.guard.report()).await;
            if let Some(last) = self.hear(report.unwrap_or_default()).await {
                return last;
            }
        }
    }

    fn tell(&self, what: &str, left: &[u32]) -> String {
        let ran =
            Duration::from_secs_f64((self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0);
        let (ran, at) =
            (humantime::format_duration(ran), humantime::format_rfc3339_seconds(clock::wall()));
        let left = match left {
            [] => String::new(),
            pids => {
                format!("; processes {pids:?} cannot be killed, the machine may need a restart")
            }
        };
        format!("{what}, after {ran}, at {at}{left}")
    }
}

fn how(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(9)) => {
            "killed by SIGKILL (by a person, or for want of memory: see `dmesg`)".to_owned()
        }
        (None, Some(signal)) => format!("ended by {}", signal_name(signal)),
        (None, None) => "could not be killed".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}
