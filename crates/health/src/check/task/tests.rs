//! Whole checks in time that only tests move: what is shown, and who is told.

use super::super::limits::tests::settings;
use super::super::runner::{Board, Members};
use super::super::value;
use super::*;
use crate::detector::testing::at;
use evenkeel_domain::Endpoint;
use evenkeel_domain::check::Unit;
use evenkeel_domain::event::EventLog;
use evenkeel_domain::replica::Identity;
use evenkeel_wire::TcpDialer;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Some replicas of one service.
#[derive(Debug, Default)]
struct Some(Mutex<Vec<Arc<Replica>>>);

impl Members for Some {
    fn of_service(&self, _: &str) -> Vec<Arc<Replica>> {
        self.0.lock().unwrap().clone()
    }
    fn named(&self, name: &str) -> Option<Arc<Replica>> {
        self.0.lock().unwrap().iter().find(|r| *r.id.name == *name).cloned()
    }
    fn pid(&self, _: &str) -> Option<u32> {
        None
    }
    fn pids(&self) -> Vec<(Arc<str>, u32)> {
        Vec::new()
    }
}

fn replica(key: u64) -> Arc<Replica> {
    let endpoint = Endpoint::loopback(1);
    let dial = Arc::new(TcpDialer::new(&endpoint));
    Arc::new(Replica::new(Identity {
        key,
        name_hash: key,
        name: format!("chat-{key}").into(),
        service: "chat".into(),
        endpoint,
        revision: "".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: Vec::new(),
        h2: false,
        model: None,
        supervised: true,
        startup_deadline: None,
        standby: None,
        dial,
    }))
}

struct World {
    check: Check,
    members: Arc<Some>,
    signals: mpsc::Receiver<Signal>,
    board: Board,
}

fn world(text: &str) -> World {
    let members = Arc::new(Some(Mutex::new(vec![replica(0), replica(1)])));
    let (to, signals) = mpsc::channel(64);
    let board = Board::default();
    let shared = Shared {
        members: members.clone(),
        signals: to,
        events: Arc::new(EventLog::default()),
        board: board.clone(),
    };
    World { check: Check::new(settings(text), shared), members, signals, board }
}

impl World {
    /// A look that found this much used, of the whole or of some things.
    async fn used(&mut self, ms: u64, all: &[(&str, f64)]) {
        let part = |(subject, used): &(&str, f64)| Part {
            subject: (*subject).into(),
            concerns: (!subject.is_empty()).then(|| vec![(*subject).into()]),
            values: vec![value("used", *used, Unit::Share)],
            ..Part::default()
        };
        let reading = Reading { parts: all.iter().map(part).collect() };
        self.check.take(reading, at(ms)).await;
    }

    /// Who was told since: replica, whether against it, whether that is news.
    fn told(&mut self) -> Vec<(u64, bool, bool)> {
        let mut all = Vec::new();
        while let Ok(signal) = self.signals.try_recv() {
            let SignalKind::Check { against, news, .. } = signal.kind else { continue };
            all.push((signal.replica, against.is_some(), news));
        }
        all.sort_unstable();
        all
    }

    fn states(&self) -> Vec<(String, CheckState)> {
        let board = self.board.lock().unwrap();
        board.values().flatten().map(|s| (s.subject.clone(), s.state)).collect()
    }
}

const DISK: &str = r#"{"kind":"disk","path":"/","critical":"90%","service":"chat","for":"1s"}"#;

#[tokio::test]
async fn who_is_concerned_is_told_with_each_look_and_when_it_is_over() {
    let mut world = world(DISK);
    world.used(0, &[("", 0.95)]).await;
    assert_eq!(world.told(), [], "it has not lasted");
    world.used(1000, &[("", 0.96)]).await;
    assert_eq!(world.told(), [(0, true, true), (1, true, true)]);
    world.used(2000, &[("", 0.97)]).await;
    assert_eq!(world.told(), [(0, true, false), (1, true, false)]);
    // One has gone, and another has come.
    world.members.0.lock().unwrap()[1] = replica(2);
    world.used(3000, &[("", 0.97)]).await;
    assert_eq!(world.told(), [(0, true, false), (1, false, true), (2, true, true)]);
    world.used(4000, &[("", 0.5)]).await;
    assert_eq!(world.told(), [(0, true, false), (2, true, false)], "that must last, too");
    world.used(5000, &[("", 0.5)]).await;
    assert_eq!(world.told(), [(0, false, true), (2, false, true)]);
    assert_eq!(world.states(), [(String::new(), CheckState::Ok)]);
}

#[tokio::test]
async fn an_end_takes_back_what_was_said() {
    let mut world = world(DISK);
    for ms in [0, 1000] {
        world.used(ms, &[("", 0.95)]).await;
    }
    world.told();
    let World { check, mut signals, board, .. } = world;
    check.end().await;
    let mut gone = 0;
    while let Ok(signal) = signals.try_recv() {
        assert!(matches!(signal.kind, SignalKind::Check { against: None, .. }));
        gone += 1;
    }
    assert!(gone == 2 && board.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_of_several_things_speaks_for_itself() {
    let mut world = world(DISK);
    for ms in [0, 1000] {
        world.used(ms, &[("chat-0", 0.5), ("chat-1", 0.95)]).await;
    }
    assert_eq!(world.told(), [(1, true, true)]);
    let state = |name: &str, state| (name.to_owned(), state);
    let both = [state("chat-0", CheckState::Ok), state("chat-1", CheckState::Critical)];
    assert_eq!(world.states(), both);
    // What fails as a whole is no data of each, once that lasts.
    for ms in [2000, 3000] {
        world.check.take(said(CheckState::Unknown, "no driver".into()), at(ms)).await;
    }
    assert_eq!(world.told(), [(1, false, true), (1, true, false)]);
    let both = [state("chat-0", CheckState::Unknown), state("chat-1", CheckState::Unknown)];
    assert_eq!(world.states(), both);
    world.used(4000, &[("chat-0", 0.5)]).await;
    assert_eq!(world.states(), [state("chat-0", CheckState::Ok)], "the other one is gone");
}

#[test]
fn measures_are_named_once_and_plainly() {
    let all = ["a", "a", "b\"\\\n", "", "c"].map(|name| value(name, 1.0, Unit::Number));
    let names: Vec<_> = series(all.into()).into_iter().map(|v| v.measure).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let many = (0..1000).map(|n| value(&format!("{n}"), 1.0, Unit::Number)).collect();
    assert_eq!(series(many).len(), VALUES);
    assert!(series(vec![value("x", f64::NAN, Unit::Number)]).is_empty());
}
