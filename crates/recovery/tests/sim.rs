//! Recovery in a simulated world with virtual time: crashes after every row, steps that fail,
//! storms.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use arc_swap::ArcSwap;
use evenkeel_domain::health::{Against, Evidence, Gate, Health};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{
    Action, Hands, Incident, Journal, Millis, Pause, Phase, Playbook, Reach, Rules, Seen, Step,
    Verify, When, World,
};
use evenkeel_domain::{clock, orchestrator};
use evenkeel_recovery::{Board, Book, Handle, Order, Parts, spawn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where the world's clock begins.
const BEGIN: Millis = 1_800_000_000_000;

/// What is wrong with a simulated replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Good,
    Hung,
}

#[derive(Debug, Clone)]
struct Model {
    is: Is,
    incarnation: u64,
    ready_at: Millis,
    isolated: bool,
    supervised: bool,
    /// What a restart makes of it.
    after: Is,
    /// A person has ordered something about it.
    ordered: bool,
    /// Whether a reload helps.
    reloads: bool,
}

#[derive(Debug, Default)]
struct Inner {
    models: BTreeMap<String, Model>,
    /// What was done: (what, target, start or key).
    done: Vec<(&'static str, String, String)>,
    /// Hands that fail, by name.
    fail: BTreeSet<&'static str>,
    /// Hands that never answer and do nothing: the process died just before.
    stuck: BTreeSet<&'static str>,
    /// The most replicas that were loading at once.
    loading: usize,
}

/// How long a simulated model loads.
const LOADS: Millis = 20_000;

struct Sim {
    began: Instant,
    inner: Mutex<Inner>,
}

impl Sim {
    fn new(models: usize) -> Arc<Self> {
        let model = Model {
            is: Is::Good,
            incarnation: 1,
            ready_at: 0,
            isolated: false,
            supervised: true,
            after: Is::Good,
            ordered: false,
            reloads: false,
        };
        let models = (0..models).map(|n| (format!("chat-{n}"), model.clone())).collect();
        let inner = Inner { models, ..Inner::default() };
        Arc::new(Self { began: clock::now(), inner: Mutex::new(inner) })
    }

    fn now(&self) -> Millis {
        BEGIN + u64::try_from((clock::now() - self.began).as_millis()).unwrap()
    }

    fn set(&self, target: &str, change: impl FnOnce(&mut Model)) {
        change(self.inner.lock().unwrap().models.get_mut(target).unwrap());
    }

    fn done(&self, what: &str) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        let of = inner.done.iter().filter(|(done, ..)| *done == what);
        of.map(|(_, target, about)| format!("{target} {about}")).collect()
    }

    /// Does something unless it was told to fail or to die.
    fn act<'a, T: Send + 'a>(
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
        self.inner
            .lock()
            .unwrap()
            .models
            .iter()
            .map(|(name, model)| seen(name, model, now))
            .collect()
    }
}

fn seen(name: &str, model: &Model, now: Millis) -> Seen {
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
    }
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
struct Run {
    board: Arc<Board>,
    handle: Handle,
    task: JoinHandle<()>,
    _end: oneshot::Sender<()>,
}

fn start(sim: &Arc<Sim>, journal: &Arc<MemoryJournal>, book: &Book) -> Run {
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
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn until(what: &str, within: u64, mut so: impl FnMut() -> bool) {
    for _ in 0..within * 10 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within {within} s: {what}");
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn last(journal: &MemoryJournal) -> Option<Incident> {
    journal.incidents(1).await.unwrap().into_iter().next()
}

async fn reaches(journal: &MemoryJournal, phase: Phase, within: u64) -> Incident {
    for _ in 0..within * 10 {
        if let Some(found) = last(journal).await.filter(|one| one.phase == phase) {
            return found;
        }
        pass(0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {phase:?} within {within} s: {:?}", last(journal).await);
}

/// Every action that this world can see.
fn long_book() -> Book {
    let step = |action, verify| Step {
        action,
        when: When::Always,
        timeout: Duration::from_secs(60),
        verify,
        tries: 1,
    };
    let reload = Action::Reload { path: "/reload".into(), body: "{}".into() };
    let steps = vec![
        step(Action::Isolate, Verify::None),
        step(Action::Promote, Verify::None),
        step(Action::MoveStreams, Verify::None),
        step(reload, Verify::Serves),
        step(Action::Wait, Verify::Serves),
        step(Action::Restart { grace: Duration::ZERO }, Verify::Serves),
    ];
    Book { rules: Rules::default(), playbooks: vec![Playbook { service: "chat".into(), steps }] }
}

#[tokio::test(start_paused = true)]
async fn a_hung_replica_is_restarted_once_and_is_over() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(5).await;
    assert!(journal.rows().is_empty(), "nothing is wrong, so nothing is written");
    sim.set("chat-1", |model| model.is = Is::Hung);
    let over = reaches(&journal, Phase::Resolved, 200).await;
    assert_eq!(sim.done("restart"), ["chat-1 1"]);
    let kinds: Vec<String> = journal.rows().into_iter().map(|row| row.entry.kind).collect();
    assert_eq!(kinds, ["confirmed", "isolated", "begin", "end", "verified", "resolved"]);
    let t = over.times;
    let all = [Some(t.onset), t.detected, t.isolated, t.mitigated, t.resolved];
    assert!(all.iter().all(Option::is_some) && all.is_sorted(), "{t:?}");
    assert!(t.mitigated.unwrap() - t.onset >= LOADS);
    run.kill().await;
}

/// Cut after each row, before and after what it orders was done: the same end, and nothing
/// that the world shows is done twice.
#[tokio::test(start_paused = true)]
async fn cut_after_every_row_it_comes_to_the_same_end() {
    let book = long_book();
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| model.is = Is::Hung);
    let run = start(&sim, &journal, &book);
    reaches(&journal, Phase::Resolved, 600).await;
    run.kill().await;
    let (rows, restarts) = (journal.rows().len(), sim.done("restart"));
    assert!(rows >= 14 && restarts.len() == 1, "{rows} {restarts:?}");
    for cut in 0..rows {
        for stuck in [false, true] {
            let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
            sim.set("chat-1", |model| model.is = Is::Hung);
            journal.break_after(Some(cut));
            if stuck {
                sim.inner
                    .lock()
                    .unwrap()
                    .stuck
                    .extend(["isolate", "restart", "promote", "request"]);
            }
            let run = start(&sim, &journal, &book);
            // Until the journal breaks, or what is stuck has been begun.
            for _ in 0..9000 {
                let begun = journal.rows().last().is_some_and(|row| row.entry.kind == "begin");
                if (run.board.why_not().is_some() && journal.rows().len() == cut)
                    || (stuck && begun)
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            run.kill().await;
            sim.inner.lock().unwrap().stuck.clear();
            journal.break_after(None);
            let run = start(&sim, &journal, &book);
            let over = reaches(&journal, Phase::Resolved, 900).await;
            assert_eq!(sim.done("restart"), restarts, "cut after row {cut}, stuck: {stuck}");
            assert_eq!(over.at, 5, "the same step has helped");
            let keys: BTreeSet<String> = sim.done("request").into_iter().collect();
            assert_eq!(keys.len(), 1, "gone on with under its key: {keys:?}");
            run.kill().await;
        }
    }
}

/// Each kind of step fails in turn: the next one follows, and in the end a person is called
/// or it serves.
#[tokio::test(start_paused = true)]
async fn whichever_step_fails_the_next_one_follows() {
    for (fail, end) in [
        ("isolate", Phase::Resolved),
        ("request", Phase::Resolved),
        ("restart", Phase::Escalated),
        ("release", Phase::Resolved),
    ] {
        let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
        sim.set("chat-1", |model| model.is = Is::Hung);
        sim.inner.lock().unwrap().fail.insert(fail);
        let run = start(&sim, &journal, &long_book());
        if fail == "release" {
            // What is never released stays out, and a person is called.
            reaches(&journal, Phase::Escalated, 900).await;
            sim.inner.lock().unwrap().fail.clear();
            sim.set("chat-1", |model| model.isolated = false);
        }
        let found = reaches(&journal, end, 900).await;
        if end == Phase::Escalated {
            assert!(found.next.contains("incident approve"), "{}", found.next);
            pass(7200).await;
            assert_eq!(last(&journal).await.unwrap().phase, Phase::Escalated, "it waits");
            // Somebody mends it: the incident ends by itself.
            sim.set("chat-1", |model| model.is = Is::Good);
            reaches(&journal, Phase::Resolved, 200).await;
        }
        run.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_does_not_mend_is_restarted_three_times_and_then_a_person_is_called() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| (model.is, model.after) = (Is::Hung, Is::Hung));
    let run = start(&sim, &journal, &Book::default());
    reaches(&journal, Phase::Escalated, 3600).await;
    assert_eq!(sim.done("restart"), ["chat-1 1", "chat-1 2", "chat-1 3"]);
    pass(7200).await;
    assert_eq!(sim.done("restart").len(), 3, "time alone does not begin anew");
    let id = last(&journal).await.unwrap().id;
    sim.set("chat-1", |model| model.after = Is::Good);
    run.handle.order(Order::Approve { id, owner: "me".into() }).await.unwrap();
    reaches(&journal, Phase::Resolved, 600).await;
    assert_eq!(sim.done("restart").len(), 4);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_in_probation_is_still_the_same_incident() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| model.is = Is::Hung);
    let run = start(&sim, &journal, &Book::default());
    let first = reaches(&journal, Phase::Probation, 200).await;
    sim.set("chat-1", |model| model.is = Is::Hung);
    reaches(&journal, Phase::Verifying, 30).await;
    let over = reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!((over.id, sim.done("restart").len()), (first.id, 2));
    assert!(over.times.mitigated > first.times.mitigated);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_ordered_is_theirs() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| (model.is, model.ordered) = (Is::Hung, true));
    let run = start(&sim, &journal, &Book::default());
    pass(3600).await;
    assert!(journal.rows().is_empty() && sim.done("restart").is_empty());
    sim.set("chat-1", |model| model.ordered = false);
    reaches(&journal, Phase::Resolved, 200).await;
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_and_a_storm_stops_all() {
    let (sim, journal) = (Sim::new(9), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    for n in 0..6 {
        sim.set(&format!("chat-{n}"), |model| model.is = Is::Hung);
    }
    let board = run.board.clone();
    until("a storm", 900, || board.view().standing.storm.is_some()).await;
    pass(7200).await;
    let restarted: BTreeSet<String> = sim.done("restart").into_iter().collect();
    assert_eq!(restarted.len(), 3, "three targets, whatever the time");
    assert_eq!(sim.inner.lock().unwrap().loading, 1, "never two at once");
    // The stop is written down: a restart of ours does not end it.
    run.kill().await;
    let run = start(&sim, &journal, &Book::default());
    pass(3600).await;
    assert_eq!(sim.done("restart").len(), 3);
    run.handle.order(Order::ResetStorm { owner: "me".into() }).await.unwrap();
    let board = run.board.clone();
    until("all is well", 3600, || board.view().open.is_empty()).await;
    assert_eq!(sim.done("restart").len(), 6);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_never_act_at_once() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    let old = start(&sim, &journal, &Book::default());
    pass(2).await;
    let new = start(&sim, &journal, &Book::default());
    pass(2).await;
    sim.set("chat-1", |model| model.is = Is::Hung);
    reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!(sim.done("restart"), ["chat-1 1"]);
    assert!(old.task.is_finished(), "it was told that another one has taken over");
    assert!(old.board.why_not().is_some() && new.board.why_not().is_none());
    let epochs: BTreeSet<u64> = journal.rows().into_iter().map(|row| row.epoch).collect();
    assert_eq!(epochs, BTreeSet::from([2]));
    new.kill().await;
}

#[tokio::test(start_paused = true)]
async fn without_data_and_without_permission_nothing_is_done() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    let rules = Rules { act: false, ..Rules::default() };
    let run = start(&sim, &journal, &Book { rules, playbooks: Vec::new() });
    sim.set("chat-1", |model| model.is = Is::Hung);
    reaches(&journal, Phase::Isolated, 60).await;
    pass(3600).await;
    assert!(sim.done("restart").is_empty());
    let (_, held) = run.board.view().open[0].clone();
    assert!(held.contains("would restart it"), "{held}");
    let gone = sim.inner.lock().unwrap().models.remove("chat-1").unwrap();
    reaches(&journal, Phase::Unknown, 10).await;
    sim.inner.lock().unwrap().models.insert("chat-1".into(), gone);
    reaches(&journal, Phase::Isolated, 10).await;
    sim.inner.lock().unwrap().models.remove("chat-1");
    reaches(&journal, Phase::Resolved, 120).await;
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_elsewhere_is_waited_for_and_then_a_person_is_called() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    sim.set("chat-0", |model| (model.supervised, model.is) = (false, Is::Hung));
    let run = start(&sim, &journal, &Book::default());
    reaches(&journal, Phase::Verifying, 10).await;
    pass(250).await;
    assert_eq!(last(&journal).await.unwrap().phase, Phase::Verifying);
    reaches(&journal, Phase::Escalated, 120).await;
    assert!(sim.done("restart").is_empty());
    run.kill().await;
}

/// What only adds capacity is done when it is needed most.
#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_in_a_storm_and_not_in_a_pause() {
    let promote = Step {
        action: Action::Promote,
        when: When::Always,
        timeout: Duration::from_secs(60),
        verify: Verify::None,
        tries: 1,
    };
    let restart = Step {
        action: Action::Restart { grace: Duration::ZERO },
        verify: Verify::Serves,
        ..promote.clone()
    };
    let steps = vec![promote, restart];
    let rules = Rules { storm_targets: 1, storm_percent: 0, ..Rules::default() };
    let playbooks = vec![Playbook { service: "chat".into(), steps }];
    let (sim, journal) = (Sim::new(4), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book { rules, playbooks });
    pass(2).await;
    for n in 0..3 {
        sim.set(&format!("chat-{n}"), |model| model.is = Is::Hung);
    }
    let board = run.board.clone();
    until("a storm", 900, || board.view().standing.storm.is_some()).await;
    pass(60).await;
    let promoted: BTreeSet<String> = sim.done("promote").into_iter().collect();
    assert_eq!(promoted.len(), 3, "each once: {promoted:?}");
    assert!(sim.done("restart").len() < 3, "a storm stops what takes away");
    let (target, until) = ("chat-3".to_owned(), u64::MAX);
    let pause = Pause { target, owner: "me".into(), why: "a test".into(), until };
    run.handle.order(Order::Pause(pause)).await.unwrap();
    sim.set("chat-3", |model| model.is = Is::Hung);
    pass(60).await;
    assert_eq!(sim.done("promote").len(), 3);
    run.kill().await;
}

/// A restart before a failure counts as one after it: back-off, floor, storm and pauses hold.
#[tokio::test(start_paused = true)]
async fn what_is_renewed_before_it_fails_is_renewed_within_the_limits() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    let renew = async |target: &str| {
        let (target, why) = (target.to_owned(), "memory reaches its limit".to_owned());
        run.handle.order(Order::Renew { target, why }).await.map_err(|error| error.to_string())
    };
    assert_eq!(renew("chat-0").await, Ok(()));
    let last = journal.rows().pop().unwrap().entry;
    assert!(last.kind == "forecast" && last.text.contains("memory reaches"), "{last:?}");
    assert!(renew("chat-0").await.unwrap_err().contains("back-off"));
    assert!(renew("nobody").await.unwrap_err().contains("no data"));
    // The only other one hangs: the floor is kept, and an incident goes before.
    sim.set("chat-0", |model| model.is = Is::Hung);
    pass(5).await;
    assert!(renew("chat-1").await.is_err(), "nobody else serves");
    assert!(renew("chat-0").await.unwrap_err().contains("incident"));
    sim.set("chat-0", |model| model.is = Is::Good);
    reaches(&journal, Phase::Resolved, 600).await;
    let (target, until) = ("chat".to_owned(), u64::MAX);
    let pause = Pause { target, owner: "me".into(), why: "a test".into(), until };
    run.handle.order(Order::Pause(pause)).await.unwrap();
    assert!(renew("chat-1").await.unwrap_err().contains("paused by me"));
    run.kill().await;
}
