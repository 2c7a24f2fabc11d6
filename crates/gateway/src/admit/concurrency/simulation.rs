//! A replica with slots and a queue of its own, in virtual time: what the controller makes
//! of it.

use super::control::Controller;
use super::seen::Seen;
use super::work::Work;
use evenkeel_domain::room::{Times, Told};
use evenkeel_domain::{clock, rng};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const STEP_MS: u64 = 5;
const TICK_MS: u64 = 100;
const TOKENS: u64 = 20;

/// How the replica works.
struct Server {
    slots: usize,
    /// To the first token, once it has a slot, in milliseconds; by how many it works on.
    first: fn(usize) -> u64,
    /// The rest of an answer.
    rest: u64,
    stream: bool,
    /// Tells of its queue every so often, in milliseconds.
    tells: Option<u64>,
    /// Times vary by this share either way.
    noise: f64,
}

const PLAIN: Server =
    Server { slots: 4, first: |_| 50, rest: 950, stream: true, tells: None, noise: 0.05 };

struct Attempt {
    sent: u64,
    first_at: Option<u64>,
    ends_at: u64,
    heard: bool,
}

impl Attempt {
    /// Its replica did nothing for a step.
    fn put_off(&mut self) {
        self.ends_at += STEP_MS;
        if !self.heard {
            self.first_at = self.first_at.map(|at| at + STEP_MS);
        }
    }
}

struct Simulation {
    server: Server,
    controller: Controller,
    origin: Instant,
    now: u64,
    working: Vec<Attempt>,
    queue: VecDeque<u64>,
    times: Times,
    count_from: u64,
    told: Option<Told>,
    rng: fastrand::Rng,
    /// Clients that send their next request when the last one is answered.
    clients: usize,
    done: u64,
    longest_queue: usize,
    /// The controller said so at some tick.
    called_queued: bool,
    /// When it last gave a byte, and until when its process pauses.
    moved: u64,
    paused_until: u64,
}

impl Simulation {
    fn new(server: Server, clients: usize) -> Self {
        let origin = clock::now();
        Self {
            server,
            controller: Controller::new(true, origin),
            origin,
            now: 0,
            working: Vec::new(),
            queue: VecDeque::new(),
            times: Default::default(),
            count_from: 0,
            told: None,
            rng: rng::seeded(7),
            clients,
            done: 0,
            longest_queue: 0,
            called_queued: false,
            moved: 0,
            paused_until: 0,
        }
    }

    fn limit(&self) -> usize {
        match self.controller.limit() {
            0 => usize::MAX,
            limit => limit as usize,
        }
    }

    fn in_flight(&self) -> usize {
        self.working.len() + self.queue.len()
    }

    /// Runs for so many seconds; gives how many answers were completed.
    fn run(&mut self, seconds: u64) -> u64 {
        let before = self.done;
        (self.longest_queue, self.done) = (0, before);
        for _ in 0..seconds * 1000 / STEP_MS {
            self.step();
        }
        self.done - before
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        let paused = self.now < self.paused_until;
        match paused {
            true => self.working.iter_mut().for_each(Attempt::put_off),
            false => self.hear(),
        }
        while self.in_flight() < self.limit().min(self.clients) {
            self.queue.push_back(self.now);
        }
        while self.working.len() < self.server.slots && !paused {
            let Some(sent) = self.queue.pop_front() else { break };
            let noise = 1.0 + self.server.noise * (2.0 * self.rng.f64() - 1.0);
            let first = ((self.server.first)(self.working.len() + 1) as f64 * noise) as u64;
            let ends_at = self.now + first + (self.server.rest as f64 * noise) as u64;
            let first_at = self.server.stream.then_some(self.now + first);
            self.working.push(Attempt { sent, first_at, ends_at, heard: false });
        }
        self.longest_queue = self.longest_queue.max(self.queue.len());
        if self.server.tells.is_some_and(|every| self.now.is_multiple_of(every)) {
            self.told = Some(Told {
                at: self.at(),
                running: self.working.len() as u32,
                waiting: self.queue.len() as u32,
                slots: None,
                full: false,
                ours: self.in_flight() as u32,
            });
        }
        if self.now.is_multiple_of(TICK_MS) {
            self.tick();
        }
    }

    fn at(&self) -> Instant {
        self.origin + Duration::from_millis(self.now)
    }

    fn hear(&mut self) {
        let (now, from) = (self.now, self.count_from);
        for attempt in self.working.iter_mut().filter(|a| !a.heard) {
            let at = attempt.first_at.unwrap_or(attempt.ends_at);
            if at > now {
                continue;
            }
            attempt.heard = true;
            let us = (at - attempt.sent) * 1000;
            let stream = self.server.stream;
            let (class, comparable) = if stream { (0, us) } else { Work::generated(TOKENS, us) };
            if attempt.sent >= from {
                self.times.add(class, comparable, us);
            }
        }
        // Tokens come all the time.
        let moves = |a: &Attempt| a.ends_at <= now || (a.heard && a.first_at.is_some());
        if self.working.iter().any(moves) {
            self.moved = now;
        }
        let before = self.working.len();
        self.working.retain(|a| a.ends_at > now);
        self.done += (before - self.working.len()) as u64;
    }

    fn tick(&mut self) {
        let in_flight = self.in_flight();
        let begun = self.working.iter().filter(|a| a.heard).count();
        let seen = Seen {
            now: self.at(),
            in_flight: in_flight as u32,
            unanswered: (in_flight - begun) as u32,
            times: std::mem::take(&mut self.times),
            done: self.done,
            busy: 0,
            told: self.told,
            wanted: in_flight >= self.limit(),
            still: Duration::from_millis(self.now - self.moved),
        };
        if self.controller.look(&seen) {
            self.count_from = self.now;
        }
        self.called_queued |= self.controller.is_queued();
    }
}

/// Answers that so many slots give in this time.
fn capacity(server: &Server, seconds: u64) -> f64 {
    let each = (server.first)(server.slots) + server.rest;
    server.slots as f64 * seconds as f64 * 1000.0 / each as f64
}

#[test]
fn slots_are_found_by_the_time_to_first_token_of_streams() {
    let mut sim = Simulation::new(PLAIN, 200);
    sim.run(12);
    let done = sim.run(30) as f64;
    assert!((4..=6).contains(&sim.limit()), "{:?}", sim.controller);
    assert!(sim.longest_queue <= 2, "{} waited in the replica", sim.longest_queue);
    assert!(done >= 0.95 * capacity(&sim.server, 30), "{done}");
}

#[test]
fn slots_are_found_by_whole_answers_too() {
    let mut sim = Simulation::new(Server { stream: false, ..PLAIN }, 200);
    sim.run(20);
    let done = sim.run(30) as f64;
    assert!((4..=8).contains(&sim.limit()), "{:?}", sim.controller);
    assert!(done >= 0.95 * capacity(&sim.server, 30), "{done}");
}

#[test]
fn a_replica_that_tells_gets_what_it_can_start() {
    for stream in [true, false] {
        let mut sim = Simulation::new(Server { stream, tells: Some(250), ..PLAIN }, 200);
        sim.run(6);
        let done = sim.run(30) as f64;
        assert!((4..=5).contains(&sim.limit()), "{:?}", sim.controller);
        assert!(sim.longest_queue <= 1, "{} waited in the replica", sim.longest_queue);
        assert!(done >= 0.95 * capacity(&sim.server, 30), "{done}");
    }
}

#[test]
fn more_slots_are_found_too() {
    let mut sim = Simulation::new(Server { tells: Some(250), ..PLAIN }, 200);
    sim.run(20);
    sim.server.slots = 32;
    sim.run(30);
    let done = sim.run(10) as f64;
    assert!(done >= 0.95 * capacity(&sim.server, 10), "{done} {:?}", sim.controller);
}

#[test]
fn without_a_queue_nothing_is_held_back() {
    for (stream, tells) in [(true, None), (false, None), (true, Some(250)), (false, Some(250))] {
        let server = Server { slots: 1000, stream, tells, noise: 0.4, ..PLAIN };
        let mut sim = Simulation::new(server, 300);
        sim.run(8);
        let done = sim.run(20) as f64;
        assert!(done >= 0.95 * 300.0 * 20.0, "{stream} {tells:?}: {done} {:?}", sim.controller);
    }
}

#[test]
fn slower_together_is_no_queue() {
    // Batches: 64 at once are three times slower to begin, and far more in all.
    let first = |n: usize| 50 + 100 * n as u64 / 64;
    let mut sim = Simulation::new(Server { slots: 1000, first, ..PLAIN }, 64);
    sim.run(10);
    let done = sim.run(20) as f64;
    assert!(done >= 0.95 * 64.0 * 20_000.0 / 1100.0, "{done} {:?}", sim.controller);
}

#[test]
fn a_replica_that_got_slow_is_not_taken_for_one_with_a_queue() {
    for stream in [true, false] {
        let mut sim = Simulation::new(Server { slots: 1000, stream, ..PLAIN }, 40);
        sim.run(10);
        (sim.server.first, sim.server.rest) = (|_| 150, 2850);
        sim.run(20);
        let done = sim.run(30) as f64;
        assert!(done >= 0.95 * 40.0 * 10.0, "{stream}: {done} {:?}", sim.controller);
    }
}

#[test]
fn a_few_slow_answers_are_no_queue() {
    let mut sim = Simulation::new(Server { slots: 1000, ..PLAIN }, 2);
    sim.run(10);
    for first in [|_| 75, |_| 110, |_| 170, |_| 250, |_| 380] {
        (sim.server.first, sim.server.rest) = (first, 950);
        sim.run(2);
    }
    assert!(!sim.called_queued, "who compares replicas would look away: {:?}", sim.controller);
    let mut sim = Simulation::new(Server { slots: 2, ..PLAIN }, 12);
    sim.run(10);
    assert!(sim.called_queued, "{:?}", sim.controller);
}

#[test]
fn a_pause_is_no_queue() {
    for (stream, pause) in [(true, 700), (true, 1500), (false, 1500), (true, 2500)] {
        // Little to do, in the middle of which all stands still.
        let server = Server { slots: 8, rest: 80, stream, ..PLAIN };
        let mut sim = Simulation::new(server, 6);
        sim.run(5);
        sim.paused_until = sim.now + pause;
        sim.run(3);
        assert!(sim.limit() >= 6, "{stream} {pause}: {:?}", sim.controller);
    }
}

#[test]
fn a_pause_in_the_middle_of_a_queue_costs_little() {
    // What is found for such short work moves up and down: several runs are compared.
    let after = |pause| -> u64 {
        let run = |seed| {
            let mut sim = Simulation::new(Server { slots: 8, rest: 80, ..PLAIN }, 16);
            sim.rng = rng::seeded(seed);
            sim.run(10);
            sim.paused_until = sim.now + pause;
            sim.run(pause / 1000 + 1);
            sim.run(10)
        };
        (1..6).map(run).sum()
    };
    let usual = after(0);
    for pause in [700, 1500, 2500] {
        let done = after(pause);
        assert!(done * 10 >= usual * 9, "{pause}: {done} of {usual}");
    }
}

#[test]
fn where_nothing_is_comparable_there_is_no_limit() {
    let mut sim = Simulation::new(PLAIN, 50);
    sim.controller = Controller::new(false, sim.origin);
    sim.run(10);
    assert_eq!((sim.controller.limit(), sim.in_flight()), (0, 50));
    sim.server.tells = Some(250);
    sim.run(30);
    assert!((4..=5).contains(&sim.limit()), "{:?}", sim.controller);
}
