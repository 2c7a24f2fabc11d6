//! Carries a drill out.
//!
//! ```text
//!  poller ── looks, events ──► loop, ten times a second: machine ── orders ──► injector
//!  load ───── counts ────────►      (plan: pure)                               proxies, guards, calls
//! ```

mod guard;
mod injector;
mod poller;
mod port;

pub use port::{Asking, Hold, Subject};

use crate::fault::asked::Asked;
use crate::load::{
    Api, Arrivals, Expect, Header, LoadError, LoadSettings, Mode, Progress, Report, Snapshot,
    run_until,
};
use crate::plan::{Drill, LoadSeen, Machine, Mark, Order, Phase, Resolved, Seen, resolve};
use crate::report::DrillReport;
use evenkeel_domain::clock::{now, unix_millis};
use injector::Injector;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often the machine is asked.
const TICK: Duration = Duration::from_millis(100);
/// The most requests under way: what hangs for the whole timeout, and no more.
const MOST_UNDER_WAY: f64 = 2_000.0;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It must not or cannot be; nothing was begun.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The load cannot be sent.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// What is carried out.
#[derive(Debug)]
pub struct Run {
    /// The drill's name.
    pub name: String,
    /// The drill.
    pub drill: Drill,
    /// Its file, for the report.
    pub text: String,
    /// Where clients connect.
    pub url: String,
    /// What they show as their key.
    pub key: Option<String>,
}

/// Carries it out. When `shutdown` is ready it is broken off. However it ends, nothing of its
/// faults is left; `said` hears what happens as it does.
///
/// # Errors
/// When it must not begin.
pub async fn run(
    run: Run,
    subject: Arc<dyn Subject>,
    said: &(dyn Fn(&Mark) + Sync),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<DrillReport, RunError> {
    let refused = |why: String| RunError::Refused(vec![why]);
    let look = subject.look().await.map_err(refused)?;
    let resolved = resolve(&run.drill, &look).map_err(RunError::Refused)?;
    let settings = settings(&run, &resolved);
    let about = (resolved.service.clone(), resolved.replicas.clone());
    let mut injector = Injector::new(subject.clone(), look.clone());
    // The ways are there before anything is measured: they cost nothing to speak of, and what
    // they do cost is in both halves of the comparison.
    injector.prepare(&resolved).await.map_err(refused)?;
    let machine = Machine::new(run.drill.clone(), resolved, &look);
    let started_unix_ms = unix_millis();
    let seen = Arc::new(Counts::default());
    let (over, is_over) = watch::channel(false);
    let course = Course { machine, injector, seen: seen.clone(), said, told: 0 };
    let load = async {
        let mut enough = is_over;
        let enough = async move {
            // An error means that the course has ended, too.
            let _ = enough.wait_for(|over| *over).await;
        };
        run_until(settings, &*seen, enough, std::future::pending()).await
    };
    let course = async {
        let machine = course.follow(poller::start(subject, look.cursor), shutdown).await;
        over.send_replace(true);
        machine
    };
    let (machine, load) = tokio::join!(course, load);
    let load: Report = load?;
    Ok(DrillReport::new(&run, about, &machine, load, started_unix_ms))
}

struct Course<'a> {
    machine: Machine,
    injector: Injector,
    seen: Arc<Counts>,
    said: &'a (dyn Fn(&Mark) + Sync),
    told: usize,
}

impl Course<'_> {
    async fn follow(
        mut self,
        mut poller: poller::Poller,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Machine {
        let mut shutdown = pin!(shutdown);
        let began = now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut orders = tokio::select! {
                () = &mut shutdown => self.machine.abort(now() - began, "by a person"),
                _ = tick.tick() => Vec::new(),
            };
            let at = now().saturating_duration_since(began);
            let (look, events) = poller.take();
            if let Some(Some(look)) = &look {
                self.injector.looked(look.clone());
            }
            let seen = Seen { load: self.seen.get(), look, events };
            orders.extend(self.machine.step(at, &seen));
            if let Err(why) = self.injector.keep().await {
                orders.extend(self.machine.abort(at, why));
            }
            let mut at_once = 0;
            while at_once < orders.len() {
                let more = self.carry_out(orders[at_once], began).await;
                orders.extend(more);
                at_once += 1;
            }
            self.tell();
            if self.machine.phase() == Phase::Over {
                self.injector.end().await;
                return self.machine;
            }
        }
    }

    async fn carry_out(&mut self, order: Order, began: std::time::Instant) -> Vec<Order> {
        match order {
            Order::Inject(task) => {
                let result = self.injector.inject(task, &self.machine.tasks()[task]).await;
                self.machine.injected(now().saturating_duration_since(began), task, result)
            }
            Order::Remove(task) => {
                self.injector.remove(task, &self.machine.tasks()[task]).await;
                Vec::new()
            }
            Order::End => {
                self.injector.end().await;
                Vec::new()
            }
        }
    }

    fn tell(&mut self) {
        for mark in &self.machine.marks()[self.told..] {
            (self.said)(mark);
        }
        self.told = self.machine.marks().len();
    }
}

/// What the load has told last.
#[derive(Debug, Default)]
struct Counts(Mutex<LoadSeen>);

impl Counts {
    fn get(&self) -> LoadSeen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Counts {
    fn tick(&self, seen: &Snapshot) {
        let Snapshot { begun, ended, failed, slowest, .. } = *seen;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = LoadSeen { begun, ended, failed, slowest };
    }
}

fn settings(run: &Run, resolved: &Resolved) -> LoadSettings {
    let load = &run.drill.load;
    let under_way = (load.rate * load.timeout.as_secs_f64()).ceil().clamp(8.0, MOST_UNDER_WAY);
    let api = match load.api.as_str() {
        "completions" => Api::Completions,
        "plain" => Api::Plain,
        _ => Api::Chat,
    };
    let key = run
        .key
        .as_ref()
        .map(|key| Header { name: "authorization".into(), value: format!("Bearer {key}") });
    LoadSettings {
        url: format!("{}{}", run.url.trim_end_matches('/'), load.path),
        body: load.body.clone(),
        mode: Mode::Open {
            rate: load.rate,
            arrivals: Arrivals::Poisson,
            max_in_flight: under_way as usize,
        },
        // It is ended by the drill; this is for one that forgets to.
        duration: Some(run.drill.limits.time.saturating_add(Duration::from_secs(60))),
        api,
        stream: load.stream && api != Api::Plain,
        model: if load.model.is_empty() { resolved.model.clone() } else { load.model.clone() },
        prompts: load.prompts,
        prompt_bytes: load.prompt_bytes,
        max_tokens: load.max_tokens,
        timeout: load.timeout,
        headers: key.into_iter().collect(),
        expect: if load.compare { Expect::First } else { Expect::Nothing },
        workers: 1,
        ..LoadSettings::default()
    }
}

/// What is asked of Evenkeel in a drill, and held if it is to be.
async fn ask(subject: &dyn Subject, asked: Asked, why: &str) -> Result<Option<Hold>, String> {
    match asked {
        Asked::Clock(ahead_ms) => subject.clock(ahead_ms, why).await.map(Some),
        Asked::Reload => subject.reload().await.map(|()| None),
        Asked::Upgrade => subject.upgrade().await.map(|()| None),
    }
}
