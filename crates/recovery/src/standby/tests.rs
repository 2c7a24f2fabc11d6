//! One active replica or two, and standbys of all levels, second by second.

use super::{Deed, Look, Member, Watch};
use evenkeel_domain::clock;
use evenkeel_domain::standby::{Duty, Failback, Level, Rules};
use std::time::{Duration, Instant};

const DRAIN: Duration = Duration::from_secs(30);

struct World {
    rules: Rules,
    members: Vec<Member>,
    watch: Watch,
    now: Instant,
}

impl World {
    fn new(levels: &[Option<Level>]) -> Self {
        let now = clock::now();
        let member = |(n, level): (usize, &Option<Level>)| Member {
            name: format!("chat-{n}"),
            level: *level,
            duty: if level.is_some() { Duty::Standby } else { Duty::Active },
            ready: matches!(level, None | Some(Level::Hot)),
            idle: true,
            by_hand: false,
            failed: false,
            since: now,
        };
        let members = levels.iter().enumerate().map(member).collect();
        Self { rules: Rules::default(), members, watch: Watch::default(), now }
    }

    fn at(&mut self, seconds: u64) -> Look {
        self.now += Duration::from_secs(seconds);
        let look = self.watch.look(&self.rules, &self.members, DRAIN, self.now);
        for deed in &look.deeds {
            let (name, duty) = match deed {
                Deed::Promote(name) => (name, Duty::Promoting),
                Deed::Serve(name) => (name, Duty::Promoted),
                Deed::Cancel(name) | Deed::Demote(name) => (name, Duty::Demoting),
                Deed::Rest(name) => (name, Duty::Standby),
            };
            let member = self.members.iter_mut().find(|m| m.name == *name).unwrap();
            (member.duty, member.since) = (duty, self.now);
        }
        look
    }

    fn deeds(&mut self, seconds: u64) -> Vec<Deed> {
        self.at(seconds).deeds
    }
}

fn name(n: usize) -> String {
    format!("chat-{n}")
}

#[test]
fn nothing_is_promoted_unasked_or_while_enough_serve() {
    let mut world = World::new(&[None, Some(Level::Hot)]);
    world.watch.ask();
    assert_eq!(world.deeds(1), []);
    world.members[0].ready = false;
    assert_eq!(world.deeds(1), [], "what was asked before is over");
    world.watch.ask();
    assert_eq!(world.deeds(1), [Deed::Promote(name(1))]);
    assert_eq!(world.deeds(1), [Deed::Serve(name(1))]);
    assert_eq!(world.deeds(1), []);
}

#[test]
fn the_quickest_goes_first_and_the_next_when_it_cannot() {
    let mut world = World::new(&[None, Some(Level::Cold), Some(Level::Warm), Some(Level::Hot)]);
    world.members[0].ready = false;
    world.members[3].ready = false;
    world.watch.ask();
    assert_eq!(world.deeds(1), [Deed::Promote(name(2))], "the hot one is not well");
    assert_eq!(world.deeds(5), [], "it loads");
    world.members[2].failed = true;
    let deeds = world.deeds(1);
    assert_eq!(deeds, [Deed::Cancel(name(2)), Deed::Promote(name(1))]);
    world.members[1].failed = true;
    assert_eq!(world.deeds(1).first(), Some(&Deed::Rest(name(2))));
    assert!(world.at(1).nobody);
}

#[test]
fn it_waits_as_long_as_it_is_told_to() {
    let mut world = World::new(&[None, Some(Level::Hot)]);
    world.rules.after = Duration::from_secs(3);
    world.members[0].ready = false;
    world.watch.ask();
    assert_eq!((world.deeds(0), world.deeds(2)), (vec![], vec![]));
    assert_eq!(world.deeds(1), [Deed::Promote(name(1))]);
}

#[test]
fn one_that_is_not_needed_any_more_is_not_promoted() {
    let mut world = World::new(&[None, Some(Level::Cold)]);
    world.members[0].ready = false;
    world.watch.ask();
    assert_eq!(world.deeds(1), [Deed::Promote(name(1))]);
    world.members[0].ready = true;
    world.members[1].idle = false;
    assert_eq!(world.deeds(1), [Deed::Cancel(name(1))]);
    assert_eq!(world.deeds(29), [], "it ends what it has begun");
    assert_eq!(world.deeds(1), [Deed::Rest(name(1))], "and has its time for that");
}

#[test]
fn it_goes_back_once_the_others_have_been_clean_for_a_while() {
    let mut world = World::new(&[None, Some(Level::Warm)]);
    world.members[0].ready = false;
    world.watch.ask();
    world.deeds(1);
    world.members[1].ready = true;
    assert_eq!(world.deeds(1), [Deed::Serve(name(1))]);
    world.members[0].ready = true;
    assert_eq!((world.deeds(1), world.deeds(59)), (vec![], vec![]));
    world.members[0].ready = false;
    assert_eq!(world.deeds(1), [], "it has not been clean");
    world.members[0].ready = true;
    assert_eq!((world.deeds(1), world.deeds(59)), (vec![], vec![]));
    assert_eq!(world.deeds(1), [Deed::Demote(name(1))]);
    assert_eq!(world.deeds(1), [Deed::Rest(name(1))]);
}

#[test]
fn what_a_person_has_promoted_a_person_sends_back() {
    let mut world = World::new(&[None, Some(Level::Hot)]);
    (world.members[1].duty, world.members[1].by_hand) = (Duty::Promoting, true);
    assert_eq!(world.deeds(1), [Deed::Serve(name(1))]);
    assert_eq!(world.deeds(3600), []);
    let mut world = World::new(&[None, Some(Level::Hot)]);
    world.rules.failback = Failback::Manual;
    world.members[1].duty = Duty::Promoted;
    assert_eq!((world.deeds(1), world.deeds(3600)), (vec![], vec![]));
}

#[test]
fn of_three_that_shall_serve_one_may_always_be_a_standby() {
    let mut world = World::new(&[None, None, Some(Level::Hot), Some(Level::Cold)]);
    world.rules.keep = Some(3);
    world.watch.ask();
    world.deeds(1);
    assert_eq!(world.deeds(1), [Deed::Serve(name(2))]);
    assert_eq!((world.deeds(1), world.deeds(600)), (vec![], vec![]), "it is needed");
    world.members[2].ready = false;
    world.watch.ask();
    assert_eq!(world.deeds(1), [Deed::Promote(name(3))]);
}
