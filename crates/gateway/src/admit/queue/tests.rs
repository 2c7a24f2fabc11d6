//! The queue with real replicas and real threads.

use super::*;
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::transport::{Dial, DialError, Dialing};
use evenkeel_domain::{Endpoint, Health, NetworkFault, Replica};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use ticket::Grant;
use tokio::time::sleep;

#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async { Err(DialError { fault: NetworkFault::Refused, text: "nowhere".into() }) })
    }
}

fn replica(places: u32) -> Arc<Replica> {
    let replica = Replica::new(Identity {
        key: 1,
        name: "s-0".into(),
        name_hash: name_hash("s-0"),
        service: "s".into(),
        endpoint: Endpoint::loopback(1),
        revision: "".into(),
        weight: 1.0,
        max_in_flight: places,
        headers: Vec::new(),
        h2: false,
        model: None,
        supervised: false,
        startup_deadline: None,
        standby: None,
        dial: Arc::new(Nowhere),
    });
    open(&replica);
    Arc::new(replica)
}

fn open(replica: &Replica) {
    replica.live.set_health(Health::Healthy, false, String::new(), clock::now());
}

fn shut(replica: &Replica) {
    replica.live.set_health(Health::Isolated, true, String::new(), clock::now());
}

struct Stage {
    pool: Arc<Pool>,
    replica: Arc<Replica>,
    queue: Arc<Queue>,
}

impl Stage {
    fn new(places: u32) -> Self {
        let pool = Arc::new(Pool::new("s".into()));
        let replica = replica(places);
        pool.set_members(vec![replica.clone()]);
        let queue = Queue::of(&pool);
        Self { pool, replica, queue }
    }

    /// As many attempts as there are places.
    fn fill(&self) {
        while self.replica.try_enter() {}
    }

    fn leave(&self) {
        self.replica.live.leave();
        self.queue.left();
    }

    fn join(&self, comer: Comer) -> Ticket {
        self.queue.join(comer, RULES).unwrap()
    }

    fn take(&self, grant: Grant) {
        assert!(self.replica.try_enter(), "a place was given that is none");
        grant.taken();
    }
}

const MS: Duration = Duration::from_millis(1);

const RULES: Rules = Rules {
    max_wait: Duration::from_secs(10),
    hold: Duration::from_secs(20),
    most: 1000,
    law: Law { target: Duration::from_millis(100), interval: Duration::from_secs(1) },
};

fn comer(tier: Tier) -> Comer {
    let deadline = clock::now() + Duration::from_secs(100);
    Comer { tier, flow: 0, cost: 1, deadline, again: false }
}

/// Polls once: a place, if there is one already.
async fn ready(ticket: Ticket) -> Result<Grant, Ticket> {
    match ticket.turn(Duration::ZERO).await {
        Turn::Go(grant) => Ok(grant),
        Turn::Later(ticket) => Err(ticket),
        Turn::Over { .. } => panic!("it may wait no longer"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_place_wakes_one_and_core_comes_first() {
    let stage = Stage::new(2);
    stage.fill();
    let low = stage.join(comer(Tier::BestEffort));
    let first = stage.join(comer(Tier::Core));
    let second = stage.join(comer(Tier::Core));
    stage.leave();
    let low = ready(low).await.unwrap_err();
    let second = ready(second).await.unwrap_err();
    stage.take(ready(first).await.unwrap());
    assert!(stage.queue.is_busy() && !stage.replica.has_room());
    stage.leave();
    let low = ready(low).await.unwrap_err();
    stage.take(ready(second).await.unwrap());
    stage.leave();
    stage.take(ready(low).await.unwrap());
    assert!(!stage.queue.is_busy());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_makes_room_for_the_next() {
    let stage = Stage::new(1);
    stage.fill();
    let (first, second, third) = (
        stage.join(comer(Tier::Core)),
        stage.join(comer(Tier::Core)),
        stage.join(comer(Tier::Core)),
    );
    drop(first);
    stage.leave();
    // Dropped after it was woken, without knowing it; and with the place in hand.
    drop(second);
    let grant = ready(third).await.unwrap();
    let fourth = stage.join(comer(Tier::Core));
    let fourth = ready(fourth).await.unwrap_err();
    drop(grant);
    stage.take(ready(fourth).await.unwrap());
    assert!(!stage.queue.is_busy());
}

#[tokio::test(start_paused = true)]
async fn a_place_of_no_use_goes_to_the_next_and_comes_back_later() {
    let stage = Stage::new(1);
    stage.fill();
    let (picky, plain) = (stage.join(comer(Tier::Core)), stage.join(comer(Tier::Core)));
    stage.leave();
    let picky = ready(picky).await.unwrap().of_no_use();
    stage.take(ready(plain).await.unwrap());
    let picky = ready(picky).await.unwrap_err();
    let late = stage.join(comer(Tier::Core));
    stage.leave();
    assert!(ready(late).await.is_err());
    stage.take(ready(picky).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_had_a_place_before_goes_first() {
    let stage = Stage::new(1);
    stage.fill();
    let fresh = stage.join(comer(Tier::Core));
    let again = stage.join(Comer { again: true, ..comer(Tier::BestEffort) });
    stage.leave();
    assert!(ready(fresh).await.is_err());
    stage.take(ready(again).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_refused_at_once() {
    let stage = Stage::new(4);
    stage.fill();
    stage.queue.took(Duration::from_secs(8));
    // A place every two seconds: four fit into ten.
    let waiting: Vec<_> = (0..5).map(|_| stage.join(comer(Tier::Core))).collect();
    let no = stage.queue.join(comer(Tier::Core), RULES).unwrap_err();
    assert_eq!((no.why, no.wait), (Refused::Overloaded, Some(Duration::from_secs(12))));
    // It waits behind core requests, and so is refused before them.
    let soon = Comer { deadline: clock::now() + Duration::from_secs(9), ..comer(Tier::Core) };
    assert_eq!(stage.queue.join(soon, RULES).unwrap_err().why, Refused::Overloaded);
    drop(waiting);
    let _core: Vec<_> = (0..4).map(|_| stage.join(comer(Tier::Core))).collect();
    let low = stage.queue.join(comer(Tier::BestEffort), RULES);
    assert!(low.is_ok(), "{low:?}");
    assert!(stage.queue.join(comer(Tier::BestEffort), RULES).is_err());
    let few = Rules { most: 4, ..RULES };
    assert_eq!(stage.queue.join(comer(Tier::Core), few).unwrap_err().why, Refused::QueueFull);
}

#[tokio::test(start_paused = true)]
async fn in_an_overload_only_what_keeps_the_replicas_busy_waits() {
    let stage = Stage::new(4);
    stage.fill();
    stage.queue.took(200 * MS);
    let mut waiting = Vec::new();
    let mut refused = 0;
    // A place every 50 ms, and twice as many who want one.
    for _ in 0..200 {
        for _ in 0..2 {
            match stage.queue.join(comer(Tier::Core), RULES) {
                Ok(ticket) => waiting.push(ticket),
                Err(_) => refused += 1,
            }
        }
        sleep(50 * MS).await;
        stage.leave();
        let mut still = Vec::new();
        for ticket in waiting.drain(..) {
            match ready(ticket).await {
                Ok(grant) => stage.take(grant),
                Err(ticket) => still.push(ticket),
            }
        }
        waiting = still;
    }
    assert!(stage.pool.counts.is_overloaded(Tier::Core));
    assert!(waiting.len() <= 3, "{} wait", waiting.len());
    assert!(refused > 150, "{refused} refused");
    waiting.clear();
    sleep(2 * RULES.law.interval).await;
    stage.queue.tick(clock::now());
    assert!(!stage.pool.counts.is_overloaded(Tier::Core));
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_deadline_costs_no_place() {
    let stage = Stage::new(1);
    stage.fill();
    let late = stage.join(Comer { deadline: clock::now() + 50 * MS, ..comer(Tier::Core) });
    let good = stage.join(comer(Tier::Core));
    // Nobody polls the first one meanwhile: a worker may be slow.
    sleep(60 * MS).await;
    stage.leave();
    stage.take(ready(good).await.unwrap());
    assert!(matches!(late.turn(Duration::ZERO).await, Turn::Over { up: true }));
}

#[tokio::test(start_paused = true)]
async fn without_a_replica_requests_are_held_and_then_go_in_order() {
    let stage = Stage::new(0);
    stage.queue.took(Duration::from_secs(100));
    shut(&stage.replica);
    let began = clock::now();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(stage.join(comer(Tier::Core)));
        sleep(100 * MS).await;
    }
    // Past what may be waited for a place, and still held.
    sleep(Duration::from_secs(9)).await;
    open(&stage.replica);
    stage.pool.improved();
    for ticket in held {
        stage.take(ready(ticket).await.unwrap());
    }
    shut(&stage.replica);
    let ticket = stage.join(comer(Tier::Core));
    let from = clock::now();
    assert!(matches!(ticket.turn(RULES.hold * 2).await, Turn::Over { up: false }));
    assert_eq!(clock::now() - from, RULES.hold);
    assert!(clock::now() - began < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_back_changes_how_long_is_waited() {
    let stage = Stage::new(1);
    stage.fill();
    shut(&stage.replica);
    let ticket = stage.join(comer(Tier::Core));
    let from = clock::now();
    let waits = tokio::spawn(ticket.turn(Duration::from_secs(100)));
    sleep(Duration::from_secs(15)).await;
    open(&stage.replica);
    stage.pool.improved();
    assert!(matches!(waits.await.unwrap(), Turn::Over { up: true }));
    assert_eq!(clock::now() - from, Duration::from_secs(15) + RULES.max_wait);
}

/// Threads that take and leave places as fast as they can: nobody is forgotten, and there
/// are never more at once than there are places.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const PLACES: u32 = 3;
    const EACH: u64 = 3000;
    let stage = Arc::new(Stage::new(PLACES));
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|flow| {
            let (stage, done) = (stage.clone(), done.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for number in 0..EACH {
                        let (stage, done) = (stage.clone(), done.clone());
                        tasks.spawn(async move {
                            one(&stage, flow, number).await;
                            done.fetch_add(1, Relaxed);
                        });
                        if number % 64 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    tasks.join_all().await;
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(done.load(Relaxed), 4 * EACH);
    assert_eq!((stage.replica.live.in_flight(), stage.queue.is_busy()), (0, false));
}

async fn one(stage: &Stage, flow: u64, number: u64) {
    // So long that nobody is refused for the others.
    let for_ever = Duration::from_secs(1_000_000);
    let rules = Rules { max_wait: for_ever, most: u32::MAX, ..RULES };
    if stage.queue.is_busy() || !stage.replica.try_enter() {
        let deadline = clock::now() + for_ever;
        let comer = Comer { flow, deadline, ..comer(Tier::Core) };
        let mut ticket = stage.queue.join(comer, rules).unwrap();
        if number.is_multiple_of(7) {
            // Leaves at some point.
            let _ = tokio::time::timeout(MS, ticket.turn(MS)).await;
            return;
        }
        loop {
            match ticket.turn(Duration::from_secs(40)).await {
                Turn::Go(grant) if stage.replica.try_enter() => {
                    grant.taken();
                    break;
                }
                Turn::Go(grant) => ticket = grant.of_no_use(),
                other => panic!("forgotten: {other:?}"),
            }
        }
    }
    assert!(stage.replica.live.in_flight() <= 3 + 4, "more than there are places");
    tokio::task::yield_now().await;
    stage.leave();
}

#[test]
fn what_has_time_leaves_the_last_places() {
    for (bound, taken) in [(1, 1), (2, 1), (8, 7), (16, 14), (100, 88)] {
        let replica = replica(bound);
        let aside = (0..200).filter(|_| replica.try_enter_aside()).count();
        assert_eq!(aside, taken, "of {bound}");
        assert!(!replica.has_room_aside());
        let people = (0..200).filter(|_| replica.try_enter()).count();
        assert_eq!(aside + people, bound as usize);
    }
    let unbounded = replica(0);
    assert!((0..500).all(|_| unbounded.has_room_aside() && unbounded.try_enter_aside()));
}
