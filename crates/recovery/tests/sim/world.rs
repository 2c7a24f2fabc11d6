//! A world of replicas in virtual time, and one process's worth of recovery in it.

use arc_swap::ArcSwap;
use evenkeel_domain::health::{Against, Evidence, Gate, Health};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{
    Copies, Elsewhere, Hands, Incident, Journal, Millis, Outlook, Phase, Reach, Seen, World,
};
use evenkeel_domain::{clock, orchestrator};
use evenkeel_recovery::{Board, Book, Handle, Parts, spawn};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where the world's clock begins.
pub(crate) const BEGIN: Millis = 1_800_000_000_000;

/// What is wrong with a simulated replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Good,
    Hung,
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) is: Is,
    pub(crate) incarnation: u64,
    pub(crate) ready_at: Millis,
    pub(crate) isolated: bool,
    pub(crate) supervised: bool,
    /// What a restart makes of it.
    pub(crate) after: Is,
    /// A person has ordered something about it.
    pub(crate) ordered: bool,
    /// A limit that it will reach.
    pub(crate) ahead: Option<Outlook>,
    /// Whether a reload helps.
    pub(crate) reloads: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) models: BTreeMap<String, Model>,
    /// What was done: (what, target, start or key).
    pub(crate) done: Vec<(&'static str, String, String)>,
    /// Hands that fail, by name.
    pub(crate) fail: BTreeSet<&'static str>,
    /// Hands that never answer and do nothing: the process died just before.
    pub(crate) stuck: BTreeSet<&'static str>,
    /// Copies that are meant to run.
    pub(crate) copies: u32,
    /// Who answers for which service.
    pub(crate) stand_ins: BTreeMap<String, Elsewhere>,
    /// The most replicas that were loading at once.
    pub(crate) loading: usize,
}

/// How long a simulated model loads.
pub(crate) const LOADS: Millis = 20_000;

pub(crate) struct Sim {
    began: Instant,
    pub(crate) inner: Mutex<Inner>,
}

impl Sim {
    pub(crate) fn new(models: usize) -> Arc<Self> {
        let model = Model {
            is: Is::Good,
            incarnation: 1,
            ready_at: 0,
            isolated: false,
            supervised: true,
            after: Is::Good,
            ordered: false,
            ahead: None,
            reloads: false,
        };
        let models = (0..models).map(|n| (format!("chat-{n}"), model.clone())).collect();
        let inner = Inner { models, copies: 2, ..Inner::default() };
        Arc::new(Self { began: clock::now(), inner: Mutex::new(inner) })
    }

    pub(crate) fn now(&self) -> Millis {
        BEGIN + u64::try_from((clock::now() - self.began).as_millis()).unwrap()
    }

    pub(crate) fn set(&self, target: &str, change: impl FnOnce(&mut Model)) {
        change(self.inner.lock().unwrap().models.get_mut(target).unwrap());
    }

    pub(crate) fn done(&self, what: &str) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let of = inner.done.iter().filter(|(done, ..)| *done == what);
        of.map(|(_, target, about)| format!("{target} {about}")).collect()
    }

    /// Does something unless it was told to fail or to die.
    pub(crate) fn act<'a, T: Send + 'a>(
        &'a self,
        what: &'static str,
        target: &'a str,
        about: String,
        act: impl FnOnce(&mut Model, Millis) -> T + Send + 'a,
    ) -> Reach<'a, T> {
        Box::pin(async move {
            if self.inner.lock().unwrap().stuck.contains(what) {
                std::future::pending::<()>().await;
            }
            let now = self.now();
            let mut inner = self.inner.lock().unwrap();
            if inner.fail.contains(what) {
                return Err(format!("{what} was told to fail"));
            }
            inner.done.push((what, target.to_owned(), about));
            let model = inner.models.get_mut(target).ok_or("it is gone")?;
            let result = act(model, now);
            let loading = inner.models.values().filter(|model| model.ready_at > now).count();
            inner.loading = inner.loading.max(loading);
            Ok(result)
        })
    }
}

impl World for Sim {
    fn look(&self) -> Vec<Seen> {
        let now = self.now();
        let inner = self.inner.lock().unwrap();
        let all = inner.models.iter().map(|(name, model)| seen(name, model, now));
        all.map(|seen| in_service(seen, &inner)).collect()
    }
}

pub(crate) fn seen(name: &str, model: &Model, now: Millis) -> Seen {
    let starting = model.ready_at > now;
    let hung = model.is == Is::Hung && !starting;
    let (health, gate) = match () {
        () if starting => (Health::Starting, Gate::Shut),
        () if hung || model.isolated => (Health::Isolated, Gate::Desperate),
        () => (Health::Healthy, Gate::Open),
    };
    let phase = match starting {
        true => orchestrator::Phase::Starting { since_ms: now, deadline_ms: model.ready_at },
        false => orchestrator::Phase::Ready,
    };
    Seen {
        target: name.into(),
        service: "chat".into(),
        health,
        gate: if model.isolated { Gate::Shut } else { gate },
        evidence: Evidence {
            against: if hung { Against::Enough } else { Against::Nothing },
            by: if hung { vec!["silence"] } else { Vec::new() },
        },
        why: if hung { "silence: nothing for 3 s".into() } else { String::new() },
        signs: Vec::new(),
        incarnation: model.incarnation,
        ordered: model.ordered.then(|| "me".to_owned()),
        in_flight: 0,
        process: model.supervised.then_some(phase),
        ends: 0,
        last_exit: None,
        has_standby: false,
        replaced_by: None,
        copies: None,
        stand_in: None,
        ahead: model.ahead.clone(),
    }
}

/// With what concerns its service as a whole.
fn in_service(seen: Seen, inner: &Inner) -> Seen {
    let copies = Copies { size: inner.copies, max: 3, open: Vec::new() };
    let stand_in = inner.stand_ins.get(&seen.service).cloned();
    Seen { copies: Some(copies), stand_in, ..seen }
}

impl Hands for Sim {
    fn isolate<'a>(&'a self, target: &'a str, key: &'a str, _: Millis) -> Reach<'a, ()> {
        self.act("isolate", target, key.to_owned(), |model, _| model.isolated = true)
    }

    fn idle<'a>(&'a self, target: &'a str) -> Reach<'a, ()> {
        self.act("idle", target, String::new(), |_, _| ())
    }

    fn release<'a>(&'a self, target: &'a str) -> Reach<'a, ()> {
        self.act("release", target, String::new(), |model, _| model.isolated = false)
    }

    fn promote<'a>(&'a self, target: &'a str) -> Reach<'a, String> {
        self.act("promote", target, String::new(), |_, _| "another serves".into())
    }

    fn restart<'a>(&'a self, target: &'a str, incarnation: u64, _: Duration) -> Reach<'a, ()> {
        self.act("restart", target, incarnation.to_string(), move |model, now| {
            if model.incarnation == incarnation {
                model.incarnation += 1;
                model.ready_at = now + LOADS;
                model.is = model.after;
            }
        })
    }

    fn renew<'a>(&'a self, target: &'a str, incarnation: u64) -> Reach<'a, ()> {
        self.act("renew", target, incarnation.to_string(), move |model, now| {
            if model.incarnation == incarnation {
                model.incarnation += 1;
                model.ready_at = now + LOADS;
                model.ahead = None;
            }
        })
    }

    fn drop_logs<'a>(&'a self, path: &'a Path) -> Reach<'a, String> {
        Box::pin(std::future::ready(Ok(format!("nothing in {}", path.display()))))
    }

    fn copies<'a>(&'a self, target: &'a str, from: u32, to: u32) -> Reach<'a, ()> {
        self.act("copies", target, format!("{from} {to}"), |_, _| ())
    }

    fn can_answer<'a>(&'a self, to: &'a Elsewhere) -> Reach<'a, String> {
        Box::pin(async move {
            let inner = self.inner.lock().unwrap();
            if inner.fail.contains("can_answer") {
                return Err("can_answer was told to fail".into());
            }
            assert!(
                inner.stand_ins.values().any(|one| one == to),
                "it is in force before it is asked"
            );
            Ok(format!("{to} answers"))
        })
    }

    fn stand_in(&self, all: &BTreeMap<String, Elsewhere>) {
        self.inner.lock().unwrap().stand_ins.clone_from(all);
    }

    fn request<'a>(
        &'a self,
        target: &'a str,
        _: &'a str,
        _: &'a str,
        key: &'a str,
    ) -> Reach<'a, u16> {
        self.act("request", target, key.to_owned(), |model, _| {
            if model.reloads {
                model.is = Is::Good;
            }
            200
        })
    }
}

/// One process's worth of recovery.
pub(crate) struct Run {
    pub(crate) board: Arc<Board>,
    pub(crate) handle: Handle,
    pub(crate) task: JoinHandle<()>,
    _end: oneshot::Sender<()>,
}

pub(crate) fn start(sim: &Arc<Sim>, journal: &Arc<MemoryJournal>, book: &Book) -> Run {
    let board = Arc::new(Board::new(|_| {}));
    let (_end, ends) = oneshot::channel();
    let clock = sim.clone();
    let parts = Parts {
        journal: journal.clone(),
        world: sim.clone(),
        hands: sim.clone(),
        book: Arc::new(ArcSwap::from_pointee(book.clone())),
        board: board.clone(),
        now: Arc::new(move || clock.now()),
    };
    let (handle, task) = spawn(parts, ends);
    Run { board, handle, task, _end }
}

impl Run {
    /// As by `kill -9`.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) async fn until(what: &str, within: u64, mut so: impl FnMut() -> bool) {
    for _ in 0..within * 10 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within {within} s: {what}");
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) async fn last(journal: &MemoryJournal) -> Option<Incident> {
    journal.incidents(1).await.unwrap().into_iter().next()
}

pub(crate) async fn reaches(journal: &MemoryJournal, phase: Phase, within: u64) -> Incident {
    for _ in 0..within * 10 {
        if let Some(found) = last(journal).await.filter(|one| one.phase == phase) {
            return found;
        }
        pass(0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {phase:?} within {within} s: {:?}", last(journal).await);
}
