use super::*;
use evenkeel_domain::clock;
use proptest::prelude::*;

const LOOK: Duration = Duration::from_millis(500);
const DOWN: Duration = Duration::from_secs(60);

fn settings() -> Scale {
    Scale {
        min: 1,
        max: 4,
        target_queue: Some(2.0),
        target_utilisation: Some(0.5),
        up_after: Some(Duration::ZERO),
        down_after: DOWN,
        ..Scale::default()
    }
}

/// `copies` that serve, with ten places each.
fn busy(copies: u32, under_way: u32, waiting: u32) -> Measures {
    let room = Some(copies * 10);
    Measures { open: copies, waiting, under_way, room, first_token: None }
}

/// A service whose copies serve as soon as they are wanted.
struct World {
    settings: Scale,
    series: Series,
    size: u32,
    now: Instant,
    held: Held,
    why: String,
}

impl World {
    fn new(settings: Scale, size: u32) -> Self {
        let (series, held) = Default::default();
        Self { settings, series, size, now: clock::now(), held, why: String::new() }
    }

    fn look(&mut self, seen: Option<Measures>) -> u32 {
        self.now += LOOK;
        self.series.observe(&self.settings, self.size, seen.as_ref(), self.now);
        let at = Situation {
            size: self.size,
            steady: self.size,
            floor: 1,
            ordered: None,
            at_least: None,
            held: &self.held,
        };
        let plan = plan(&self.settings, &self.series, &at, self.now);
        (self.size, self.why) = (plan.size, plan.why);
        self.size
    }

    /// The same for a time.
    fn last(&mut self, time: Duration, seen: impl Fn(u32) -> Option<Measures>) -> u32 {
        let end = self.now + time;
        while self.now < end {
            let size = self.size;
            self.look(seen(size));
        }
        self.size
    }
}

#[test]
fn what_each_target_asks_for() {
    let first = |ms| Some(Duration::from_millis(ms));
    let late = Scale { target_first_token: first(1000), ..Scale::default() };
    let queue = Scale { target_queue: Some(2.0), ..Scale::default() };
    let usage = Scale { target_utilisation: Some(0.5), ..Scale::default() };
    let told = |ms| Measures { first_token: first(ms), ..busy(2, 2, 0) };
    for (settings, size, seen, wanted) in [
        (&queue, 2, busy(2, 20, 9), [Some(5), None, None]),
        (&queue, 2, busy(2, 20, 3), [Some(2), None, None]),
        (&queue, 2, busy(2, 9, 0), [Some(2), None, None]),
        (&queue, 2, busy(2, 8, 0), [Some(1), None, None]),
        (&queue, 2, busy(2, 0, 0), [Some(0), None, None]),
        // What is being started is not asked for twice.
        (&queue, 5, busy(2, 20, 9), [Some(5), None, None]),
        (&usage, 2, busy(2, 11, 0), [None, Some(3), None]),
        (&usage, 2, busy(2, 10, 0), [None, Some(2), None]),
        (&usage, 2, busy(2, 20, 10), [None, Some(6), None]),
        (&usage, 2, Measures { room: None, ..busy(2, 20, 0) }, [None, None, None]),
        (&late, 2, told(1500), [None, None, Some(3)]),
        (&late, 2, told(9000), [None, None, Some(4)]),
        (&late, 2, told(900), [None, None, Some(2)]),
        (&late, 2, told(400), [None, None, Some(1)]),
        (&late, 2, busy(2, 2, 0), [None, None, None]),
        (&late, 2, busy(2, 0, 0), [None, None, Some(0)]),
    ] {
        assert_eq!(needs(settings, size, &seen), wanted, "{seen:?}");
    }
}

#[test]
fn it_grows_at_once_by_steps_and_shrinks_late() {
    let mut world = World::new(settings(), 1);
    assert_eq!(world.look(Some(busy(1, 10, 20))), 3, "two at once: {}", world.why);
    assert!(world.why.contains("10 would do"), "{}", world.why);
    assert_eq!(world.look(Some(busy(1, 10, 20))), 4);
    world.look(Some(busy(1, 10, 20)));
    assert!(world.size == 4 && world.why.contains("4 is the most"), "{}", world.why);
    let quiet = |size| Some(busy(size, 0, 0));
    assert_eq!(world.last(DOWN - LOOK, quiet), 4);
    assert_eq!(world.last(LOOK * 4, quiet), 1, "all the while none was needed");
}

#[test]
fn one_step_down_at_a_time_for_what_is_relative() {
    let only = Scale { target_utilisation: None, ..settings() };
    let mut world = World::new(only, 3);
    let trickle = |size| Some(busy(size, 1, 0));
    assert_eq!(world.last(DOWN + LOOK * 2, trickle), 2);
    assert_eq!(world.last(DOWN - LOOK * 4, trickle), 2);
    assert_eq!(world.last(LOOK * 8, trickle), 1);
}

#[test]
fn the_window_for_more_must_be_full() {
    let slow = Scale { up_after: None, target_queue: None, ..settings() };
    let mut world = World::new(slow, 1);
    let more = |size| Some(busy(size, size * 9, 0));
    assert_eq!(world.last(UP_AFTER - LOOK, more), 1);
    world.look(Some(busy(1, 1, 0)));
    assert_eq!(world.last(UP_AFTER - LOOK, more), 1, "a break begins it anew");
    assert_eq!(world.last(LOOK * 4, more), 2);
}

#[test]
fn without_measurements_it_stays() {
    let mut world = World::new(settings(), 3);
    world.last(DOWN / 2, |size| Some(busy(size, 0, 0)));
    assert_eq!(world.last(DOWN * 2, |_| None), 3);
    assert!(world.why.contains("nothing is measured"), "{}", world.why);
    assert_eq!(world.last(DOWN - LOOK, |size| Some(busy(size, 0, 0))), 3, "seen anew");
    // A part that is not known counts as nothing to go by, either.
    let mut world = World::new(settings(), 3);
    let blind = |size| Some(Measures { room: None, ..busy(size, 1, 0) });
    assert_eq!(world.last(DOWN * 3, blind), 3);
}

#[test]
fn what_holds_it_and_who_orders() {
    let mut world = World::new(settings(), 2);
    world.held = Held { all: None, down: Some("an incident is open".into()) };
    assert_eq!(world.last(DOWN * 2, |size| Some(busy(size, 0, 0))), 2);
    assert!(world.why.contains("incident"), "{}", world.why);
    assert_eq!(world.look(Some(busy(2, 20, 6))), 4, "more is started all the same");
    world.held.all = Some("paused".into());
    assert_eq!(world.last(DOWN * 2, |size| Some(busy(size, 0, 0))), 4);
    let at = |steady, ordered| Situation {
        size: 4,
        steady,
        floor: 2,
        ordered,
        at_least: None,
        held: &world.held,
    };
    let run = |at| plan(&world.settings, &world.series, &at, world.now);
    assert_eq!(run(at(4, Some((2, "me")))).size, 2);
    assert_eq!(run(at(4, Some((9, "me")))).size, 4, "not beyond max");
    world.held = Held::default();
    let held = &world.held;
    let run = |steady, floor| {
        let at = Situation { size: 4, steady, floor, ordered: None, at_least: None, held };
        plan(&world.settings, &world.series, &at, world.now)
    };
    assert_eq!(run(2, 1).size, 4, "two of the three that would be left serve");
    assert_eq!((run(3, 1).size, run(4, 4).size), (3, 4), "the floor stays");
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    Load(u32, u32),
    Nothing,
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        8 => (0u32..60, 0u32..30).prop_map(|(load, waiting)| Seen::Load(load, waiting)),
        1 => Just(Seen::Nothing),
    ]
}

proptest! {
    #[test]
    fn whatever_comes(
        looks in proptest::collection::vec((seen(), 1u32..80), 1..60),
        size in 0u32..9, min in 1u32..4, more in 0u32..4, step in 1u32..3,
    ) {
        let settings =
            Scale { min, max: min + more, step_up: step, step_down: step, ..settings() };
        let mut world = World::new(settings, size);
        let (mut grown, mut first) = (None, true);
        for (seen, times) in looks {
            for _ in 0..times {
                let before = world.size;
                let measured = match seen {
                    Seen::Load(load, waiting) => Some(busy(before, load.min(before * 10), waiting)),
                    Seen::Nothing => None,
                };
                let after = world.look(measured);
                prop_assert!((min..=min + more).contains(&after));
                // The first look only brings it into its bounds.
                if !std::mem::take(&mut first) {
                    prop_assert!(after.abs_diff(before) <= step);
                    if matches!(seen, Seen::Nothing) {
                        prop_assert!(after >= before, "taken away unseen");
                    }
                    if after > before {
                        grown = Some(world.now);
                    }
                    if after < before && let Some(grown) = grown {
                        prop_assert!(world.now - grown >= DOWN, "it flaps");
                    }
                }
            }
        }
    }
}
