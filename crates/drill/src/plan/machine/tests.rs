//! Drills in virtual time: what is seen is made up, tenth of a second by tenth of a second.

use super::*;
use crate::plan::{LoadSeen, ReplicaLook, ServiceLook, Verdict, resolve};

const STEP: Duration = Duration::from_millis(100);

/// A service of two, of which the first is as told.
fn look(health: &str, gate: &str, pid: u32) -> Look {
    let replica = |name: &str, health: &str, gate: &str, pid| ReplicaLook {
        name: name.into(),
        url: "http://127.0.0.1:1".into(),
        health: health.into(),
        gate: gate.into(),
        pid: Some(pid),
        ..ReplicaLook::default()
    };
    let replicas = vec![replica("a", health, gate, pid), replica("b", "healthy", "open", 9)];
    let service = ServiceLook { name: "s".into(), replicas, ..ServiceLook::default() };
    Look { services: vec![service], gateway_pid: 5, ..Look::default() }
}

fn well() -> Look {
    look("healthy", "open", 1)
}

struct Course {
    machine: Machine,
    at: Duration,
    load: LoadSeen,
    orders: Vec<(u128, Order)>,
}

impl Course {
    fn of(text: &str) -> Self {
        let drill: Drill = serde_json::from_str(text).unwrap();
        let resolved = resolve(&drill, &well()).unwrap();
        let machine = Machine::new(drill, resolved, &well());
        Self { machine, at: Duration::ZERO, load: LoadSeen::default(), orders: Vec::new() }
    }

    /// Goes on to `until_s` with this look; a request every step, good or failed, or none.
    fn go(mut self, until_s: f64, look: &Look, good: Option<bool>) -> Self {
        while self.at.as_secs_f64() < until_s {
            self.at += STEP;
            self.load.begun += 1;
            self.load.ended += u64::from(good.is_some());
            self.load.failed += u64::from(good == Some(false));
            let look = Some(Some(look.clone()));
            let seen = Seen { load: self.load, look, events: Vec::new() };
            for order in self.machine.step(self.at, &seen) {
                self.orders.push((self.at.as_millis(), order));
                if let Order::Inject(task) = order {
                    self.machine.injected(self.at, task, Ok(()));
                }
            }
        }
        self
    }

    fn aborted(&self) -> &str {
        self.machine.aborted().unwrap_or("not")
    }
}

const STOP: &str = r#"{"steady":{"for":"1s"},"fault":[{"what":"stop","for":"2s"}],
    "expect":{"detected":"1s","recovered":"5s","after":"1s"},"stop":{"failed":5,"gap":"3s"}}"#;

#[test]
fn a_fault_comes_goes_is_known_and_is_over() {
    let course = Course::of(STOP).go(1.0, &well(), Some(true));
    let course = course.go(1.5, &well(), Some(true));
    let course = course.go(4.0, &look("suspect", "shut", 1), Some(true));
    assert_eq!(course.machine.phase(), Phase::Recover);
    let course = course.go(7.0, &well(), Some(true));
    assert_eq!(
        course.orders,
        [(1000, Order::Inject(0)), (3000, Order::Remove(0)), (6100, Order::End)]
    );
    let known = course.machine.watch.detections();
    assert_eq!(known, [Some(Duration::from_millis(600))]);
    assert_eq!(course.machine.watch.whole_since(), Some(Duration::from_millis(4100)));
    assert_eq!(course.machine.verdict(&[]), Verdict::Passed);
}

#[test]
fn nothing_is_done_without_a_steady_state() {
    let course = Course::of(STOP).go(1.0, &well(), Some(false));
    assert!(course.aborted().contains("no steady state"), "{}", course.aborted());
    assert_eq!(course.orders, [(100, Order::End)]);
    let alone = look("isolated", "shut", 1);
    let course = Course::of(STOP).go(2.0, &alone, Some(true));
    assert!(course.aborted().contains("limits.ready"), "{}", course.aborted());
    assert_eq!(course.orders.len(), 1);
}

#[test]
fn stop_conditions_end_it_with_the_fault() {
    let begun = || Course::of(STOP).go(1.2, &well(), Some(true));
    let failing = begun().go(5.0, &well(), Some(false));
    assert!(failing.aborted().contains("stop.failed"), "{}", failing.aborted());
    assert_eq!(failing.orders.last(), Some(&(1800, Order::End)));
    let silent = begun().go(9.0, &well(), None);
    assert!(silent.aborted().contains("stop.gap"), "{}", silent.aborted());
    assert!(silent.machine.spans().0.iter().all(|fault| fault.to_ms > fault.from_ms));
}

#[test]
fn a_killed_one_is_back_when_another_process_serves() {
    let kill = r#"{"steady":{"for":"1s"},"fault":[{"what":"kill"}],
        "expect":{"recovered":"5s","after":"500ms"}}"#;
    // As if nobody had noticed: the old process is still shown.
    let course = Course::of(kill).go(3.0, &well(), Some(true));
    assert_eq!(course.machine.phase(), Phase::Recover);
    let course = course.go(4.2, &look("healthy", "open", 2), Some(true));
    assert_eq!(course.machine.phase(), Phase::After);
    // It falls again: that is no recovery.
    let course = course.go(4.3, &look("isolated", "shut", 2), Some(true));
    assert_eq!(course.machine.phase(), Phase::Recover);
    let course = course.go(20.0, &look("isolated", "shut", 2), Some(true));
    assert_eq!(course.machine.phase(), Phase::Over);
    assert_eq!(course.machine.watch.whole_since(), None);
}

#[test]
fn what_is_repeated_is_repeated_until_its_end() {
    let flap = r#"{"steady":{"for":"1s"},"fault":[{"what":"kill","for":"3s","every":"1s"}]}"#;
    let course = Course::of(flap).go(6.0, &well(), Some(true));
    let at: Vec<u128> = course.orders.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [1000, 2000, 3000]);
    assert_eq!(course.machine.phase(), Phase::Recover);
}

#[test]
fn one_that_is_down_when_its_turn_comes_is_left_out() {
    let flap = r#"{"steady":{"for":"1s"},"fault":[{"what":"kill","for":"3s","every":"1s"}]}"#;
    let mut course = Course::of(flap).go(1.5, &well(), Some(true));
    assert_eq!(course.machine.injected(course.at, 0, Err("no process".into())), []);
    assert_eq!((course.aborted(), course.machine.phase()), ("not", Phase::Fault));
    assert!(course.machine.marks().iter().any(|mark| mark.text.contains("left out")));
}

#[test]
fn a_fault_that_cannot_be_put_in_place_ends_it() {
    let mut course = Course::of(STOP).go(0.9, &well(), Some(true));
    let seen = Seen { load: course.load, look: Some(Some(well())), events: Vec::new() };
    let at = Duration::from_secs(1);
    assert_eq!(course.machine.step(at, &seen), [Order::Inject(0)]);
    assert_eq!(course.machine.injected(at, 0, Err("no right".into())), [Order::End]);
    assert!(course.aborted().contains("no right"), "{}", course.aborted());
}
