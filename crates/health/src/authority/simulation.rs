//! Thirty days of ordinary life in virtual time, through the real authority: processes that
//! pause, networks that lose, replicas that are as busy as can be. Nobody may be isolated for
//! that, and hardly anybody suspected.
//!
//! What is simulated is what a gateway and a prober would tell of it, by their own rules:
//! streams that fall silent are carried on elsewhere after 300 ms and count as stalled, what
//! waits for longer than is normal is reported, a replica in doubt is probed at once and then
//! five times a second.

use super::*;
use crate::detector::testing::at;
use evenkeel_domain::conduct::GAPS;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::health::ProbeFailure;
use evenkeel_domain::outcome::{NetworkFault, ReplicaFault};
use evenkeel_domain::{Gate, Incarnation, Outcome};
use fastrand::Rng;

const REPLICAS: usize = 3;
const HOUR: u64 = 3_600_000;
/// Pauses of each replica in an hour.
const PAUSES: u64 = 12;
/// Step while something goes on, and while nothing does.
const FINE: u64 = 50;
const COARSE: u64 = 1000;
/// One packet in so many is lost.
const LOSS: usize = 100;
/// Requests that every replica gets in a second, when it is quiet and when it is busy.
const QUIET: usize = 1;
const FULL: usize = 4;

struct Unprobed;

impl Probing for Unprobed {
    fn start(&mut self, _: Target) {}
    fn stop(&mut self, _: u64) {}
}

/// One replica's side of the world.
struct Side {
    replica: Arc<Replica>,
    /// When it next pauses, and until when.
    pause: (u64, u64),
    /// The probe under way was sent then, and is lost.
    probe: Option<(u64, bool)>,
    next_probe: u64,
    /// A second opinion is wanted.
    asked: bool,
    /// Streams and whole answers that a pause has caught.
    streams: usize,
    waiting: usize,
    reported: u64,
}

struct World {
    authority: Authority<Unprobed>,
    pool: Arc<Pool>,
    sides: Vec<Side>,
    rng: Rng,
    now: u64,
    /// For how long replicas were suspect, by the detector that said so first.
    suspect: HashMap<String, u64>,
    _handle: AuthorityHandle,
}

impl World {
    fn new(seed: u64) -> Self {
        let signals = mpsc::channel(1);
        let (mut authority, handle) = Authority::new(signals, Arc::default(), Unprobed);
        let pool = Arc::new(Pool::new("s".into()));
        let replicas: Vec<_> =
            (1..=REPLICAS as u64).map(|key| Arc::new(super::tests::replica(key))).collect();
        pool.set_members(replicas.clone());
        authority.set_members(Arc::new(super::tests::settings()), pool.clone(), at(0));
        let mut rng = Rng::with_seed(seed);
        let side = |replica| Side {
            replica,
            pause: next_pause(0, &mut rng),
            probe: None,
            next_probe: 0,
            asked: false,
            streams: 0,
            waiting: 0,
            reported: 0,
        };
        let sides = replicas.into_iter().map(side).collect();
        Self { authority, pool, sides, rng, now: 0, suspect: HashMap::new(), _handle: handle }
    }

    fn tell(&mut self, of: usize, kind: SignalKind) {
        self.sides[of].asked |= matches!(kind, SignalKind::Attempt(_) | SignalKind::Waiting { .. });
        let replica = self.sides[of].replica.id.key;
        let when = at(self.now);
        let signal =
            Signal { replica, incarnation: Incarnation(0), observer: "sim", at: when, kind };
        self.authority.observe(&signal, when);
    }

    /// As the gateway does.
    fn ended(&mut self, of: usize, outcome: Outcome) {
        let live = &self.sides[of].replica.live;
        if !outcome.is_silence() {
            live.conduct.ended(0, outcome == Outcome::Ok);
        }
        let row = live.record_outcome(outcome, at(self.now));
        if outcome.blames_replica() || row > 0 {
            self.tell(of, SignalKind::Attempt(outcome));
        }
    }

    fn run(&mut self, until: u64) {
        while self.now < until {
            let eventful = self.sides.iter().any(|s| {
                s.replica.live.gate() != Gate::Open
                    || s.probe.is_some()
                    || s.asked
                    || clock::millis(at(self.now)).saturating_sub(s.replica.live.last_ok_ms())
                        >= 2000
                    || self.now + COARSE >= s.pause.0
            });
            let step = if eventful { FINE } else { COARSE - self.now % COARSE };
            self.now += step;
            for of in 0..REPLICAS {
                if self.sides[of].replica.live.health() == Health::Suspect {
                    let why = self.sides[of].replica.live.why();
                    let name = why.split([':', '(']).next().unwrap_or_default();
                    *self.suspect.entry(name.to_owned()).or_default() += step;
                }
                self.probe(of);
                self.traffic(of, step);
                self.pause(of);
            }
            self.authority.glance(at(self.now));
            if self.now.is_multiple_of(250) {
                // So many sweeps as there would have been.
                self.authority.sweeps = (self.now / 250 - 1) as u32;
                self.authority.sweep(at(self.now));
            }
        }
    }

    fn is_paused(&self, of: usize) -> bool {
        let (from, to) = self.sides[of].pause;
        (from..to).contains(&self.now)
    }

    /// Asks while it is in doubt or somebody wants to know; an answer takes a few milliseconds,
    /// or until a pause ends. A lost first packet comes again after a second: too late.
    fn probe(&mut self, of: usize) {
        let (now, paused) = (self.now, self.is_paused(of));
        let side = &mut self.sides[of];
        let doubt = side.replica.live.gate() != Gate::Open;
        // What traffic has not proven for two seconds is asked.
        let unproven = clock::millis(at(now)).saturating_sub(side.replica.live.last_ok_ms());
        side.asked |= unproven >= 2000 && now >= side.next_probe + 1800;
        let Some((sent, lost)) = side.probe else {
            if (doubt || side.asked) && now >= side.next_probe {
                side.asked = false;
                side.probe = Some((now, self.rng.usize(..LOSS) == 0));
            }
            return;
        };
        if !paused && !lost {
            side.probe = None;
            self.tell(of, SignalKind::ProbeOk(Duration::from_millis(now - sent)));
        } else if now - sent >= 500 {
            side.probe = None;
            let text = "no answer within 500ms".into();
            let failure = ProbeFailure { refused: false, not_ready: false, silent: true, text };
            self.tell(of, SignalKind::ProbeFailed(failure));
        }
        self.sides[of].next_probe = now + if doubt { 200 } else { 100 };
    }

    fn is_busy(&self) -> bool {
        // Six hours of each day: all that there are, at their limit.
        (self.now / HOUR) % 24 >= 18
    }

    fn traffic(&mut self, of: usize, step: u64) {
        if self.is_paused(of) || self.sides[of].replica.live.gate() != Gate::Open {
            return;
        }
        let busy = self.is_busy();
        let requests = if busy { FULL } else { QUIET };
        let whole = requests * step as usize;
        let count = whole / 1000 + usize::from(self.rng.usize(..1000) < whole % 1000);
        for _ in 0..count {
            self.request(of, busy);
        }
    }

    fn request(&mut self, of: usize, busy: bool) {
        // One in ten opens a connection, whose first packet may be lost.
        if self.rng.usize(..10 * LOSS) == 0 {
            return self.ended(of, Outcome::NetworkFault(NetworkFault::ConnectTimeout));
        }
        let jitter = 0.6 + 0.8 * self.rng.f64() + self.rng.f64().powi(8);
        let queue = if busy { 1.0 + 3.0 * self.rng.f64() } else { 1.0 };
        let lost = if self.rng.usize(..LOSS) == 0 { 0.2 + 0.8 * self.rng.f64() } else { 0.0 };
        let took = Duration::from_secs_f64(0.08 * jitter * queue + lost);
        let gap = Duration::from_secs_f64(0.01 * jitter);
        let live = &self.sides[of].replica.live;
        live.record_first_byte(took);
        live.conduct.took(0, took);
        live.conduct.took(GAPS, gap);
        live.conduct.answered(0, at(self.now));
        let normal = self.pool.expected_first_byte();
        if normal.is_some_and(|normal| took > normal.max(Duration::from_millis(100))) {
            self.tell(of, SignalKind::Waiting { waited: took, normal });
        }
        self.ended(of, Outcome::Ok);
    }

    /// All that is under way stands still; when it is over, what still waits is answered.
    fn pause(&mut self, of: usize) {
        let (now, (from, to)) = (self.now, self.sides[of].pause);
        if now < from {
            return;
        }
        let busy = self.is_busy();
        let side = &mut self.sides[of];
        if now < from + FINE || side.reported < from {
            side.reported = now;
            // One that is out has nothing under way.
            let open = usize::from(side.replica.live.gate() == Gate::Open);
            side.streams = open * if busy { 4 } else { self.rng.usize(..3) };
            side.waiting = open * if busy { 2 } else { self.rng.usize(..2) };
            (0..side.waiting).for_each(|_| side.replica.live.room.asked());
        }
        if now >= to {
            let answered = std::mem::take(&mut side.waiting);
            side.streams = 0;
            side.pause = next_pause(now, &mut self.rng);
            for _ in 0..answered {
                self.sides[of].replica.live.room.answered();
                self.ended(of, Outcome::Ok);
            }
            return;
        }
        let silent = now - from;
        if silent >= 350 && side.streams > 0 {
            side.streams -= 1;
            return self.ended(of, Outcome::ReplicaFault(ReplicaFault::Stalled));
        }
        if side.waiting > 0 && silent >= 250 && now - side.reported >= 150 {
            side.reported = now;
            let (waited, normal) =
                (Duration::from_millis(silent), Some(Duration::from_millis(250)));
            self.tell(of, SignalKind::Waiting { waited, normal });
        }
    }
}

fn next_pause(now: u64, rng: &mut Rng) -> (u64, u64) {
    // Twelve an hour, at any time.
    let mean = (HOUR / PAUSES) as f64;
    let wait = (-(1.0 - rng.f64()).ln() * mean) as u64 + 1000;
    let from = (now + wait) / FINE * FINE;
    (from, from + rng.u64(300..=2500) / FINE * FINE)
}

/// What came of some days: isolations with their reasons, and for how long replicas were
/// suspect, by the detector that said so.
fn days(seed: u64, days: u64) -> (Vec<String>, HashMap<String, u64>) {
    let mut world = World::new(seed);
    let (mut isolated, mut cursor) = (Vec::new(), 0);
    for _ in 0..days * 24 {
        world.run(world.now + HOUR);
        for event in world.authority.events.after(cursor) {
            cursor = event.seq;
            if let EventKind::Health { to, why, .. } = event.kind
                && to == Health::Isolated.label()
            {
                isolated.push(why);
            }
        }
    }
    (isolated, world.suspect)
}

/// Several worlds side by side.
fn simulate(seeds: std::ops::Range<u64>, each: u64) {
    let all = (seeds.end - seeds.start) * each;
    let parts: Vec<_> = seeds.map(|seed| std::thread::spawn(move || days(seed, each))).collect();
    let (mut isolated, mut suspect) = (Vec::new(), HashMap::<String, u64>::new());
    for part in parts {
        let (more, times) = part.join().expect("it runs");
        isolated.extend(more);
        times.into_iter().for_each(|(why, ms)| *suspect.entry(why).or_default() += ms);
    }
    let share = suspect.values().sum::<u64>() as f64 / (all * 24 * HOUR * REPLICAS as u64) as f64;
    println!("suspect {:.3} % of {all} days: {suspect:?}", share * 100.0);
    println!("{} isolations: {isolated:?}", isolated.len());
    assert!(isolated.is_empty(), "{} isolations: {:?}", isolated.len(), isolated.first());
    assert!((0.0005..0.01).contains(&share), "suspect for {:.2} % of the time", share * 100.0);
}

#[test]
fn a_day_of_pauses_loss_and_load_isolates_nobody() {
    simulate(0..1, 1);
}

#[test]
#[ignore = "minutes, not seconds"]
fn thirty_days_of_pauses_loss_and_load_isolate_nobody() {
    simulate(0..6, 5);
}

#[test]
fn a_pause_that_does_not_end_is_isolated() {
    let mut world = World::new(1);
    world.run(60_000);
    world.sides[0].pause = (world.now, u64::MAX);
    let from = world.now;
    world.run(from + 10_000);
    let live = &world.sides[0].replica.live;
    assert_eq!(live.health(), Health::Isolated, "{}", live.why());
}
