//! The plan alone, second by second, whatever happens to the replicas: the limits hold.

use super::machine::Event;
use super::{Book, Order, State, ended, obey};
use evenkeel_domain::health::{Against, Evidence, Gate, Health};
use evenkeel_domain::incident::testing::incident;
use evenkeel_domain::incident::{ChangedBy, Millis, Pause, Phase, Seen, Standing};
use evenkeel_domain::orchestrator;
use proptest::prelude::*;
use std::collections::BTreeSet;

const BEGIN: Millis = 1_000_000;

fn seen(n: usize, hung: bool, incarnation: u64) -> Seen {
    let (health, gate) =
        if hung { (Health::Isolated, Gate::Desperate) } else { (Health::Healthy, Gate::Open) };
    Seen {
        target: format!("chat-{n}"),
        service: "chat".into(),
        health,
        gate,
        evidence: Evidence {
            against: if hung { Against::Enough } else { Against::Nothing },
            by: if hung { vec!["silence"] } else { Vec::new() },
        },
        why: "silence".into(),
        signs: Vec::new(),
        incarnation,
        ordered: None,
        in_flight: 0,
        process: Some(orchestrator::Phase::Ready),
        ends: 0,
        last_exit: None,
        has_standby: false,
        replaced_by: None,
        copies: None,
        stand_in: None,
        ahead: None,
    }
}

proptest! {
    /// Replicas hang and are mended at random times, and a restart helps or not: never are
    /// more changed at once than a fifth of them or one, never more than three or 30 % in
    /// ten minutes, and once it has stopped nothing is changed any more.
    #[test]
    fn the_plan_never_does_more_than_the_limits_allow(
        size in 1usize..16,
        happens in prop::collection::vec((0usize..16, 0u64..90, any::<bool>()), 1..60),
    ) {
        let book = Book::default();
        let mut state = State::new(1, Vec::new(), Standing::default(), BEGIN);
        let mut world: Vec<Seen> = (0..size).map(|n| seen(n, false, 1)).collect();
        let mut now = BEGIN;
        for (who, wait, helps) in happens {
            let who = who % size;
            world[who] = seen(who, true, world[who].incarnation);
            for _ in 0..=wait {
                now += 1000;
                let stopped = state.standing.storm.is_some();
                for _ in 0..50 {
                    let Some(change) = state.next(&world, &book, now) else { break };
                    state.apply(&change.record);
                    if !change.act {
                        continue;
                    }
                    let one = change.record.incident.unwrap();
                    let changes = one.doing.as_ref().unwrap().step.action.changes();
                    prop_assert!(!(stopped && changes), "it acts in a storm");
                    let busy = state.incidents.values().filter(|i| {
                        matches!(i.phase, Phase::Acting | Phase::Verifying)
                            && i.doing.as_ref().is_some_and(|d| d.step.action.changes())
                    });
                    prop_assert!(busy.count() <= (size / 5).max(1));
                    if changes {
                        let n: usize = one.target[5..].parse().unwrap();
                        world[n] = seen(n, !helps, world[n].incarnation + 1);
                    }
                    let end = ended(&one, &Ok("ordered".into()), now).unwrap();
                    state.apply(&end.record);
                }
                state.looked(&world, now);
                let of = |by| state.standing.changes.iter().filter(move |c| c.by == by);
                let recent = of(ChangedBy::Recovery).filter(|c| now - c.at < 600_000);
                let targets: BTreeSet<&str> = recent.map(|c| c.target.as_str()).collect();
                prop_assert!(targets.len() <= 3.max(size * 3 / 10), "{targets:?} of {size}");
            }
        }
    }
}

#[test]
fn a_paused_incident_goes_back_to_where_it_was() {
    let mut state =
        State::new(1, vec![incident("1-1", "chat-0", Phase::Isolated)], Standing::default(), BEGIN);
    let (world, book) = ([seen(0, true, 1)], Book::default());
    let (target, owner) = ("chat-0".to_owned(), "me".to_owned());
    let pause = Pause { target, owner, why: "x".into(), until: BEGIN + 5000 };
    let change = obey(&state, &world, &book, Order::Pause(pause), BEGIN).unwrap();
    state.apply(&change.record);
    let paused = state.next(&world, &book, BEGIN + 1).unwrap();
    state.apply(&paused.record);
    assert_eq!(state.of("chat-0").unwrap().back, Some(Phase::Isolated));
    assert!(state.next(&world, &book, BEGIN + 4999).is_none());
    let back = state.next(&world, &book, BEGIN + 5000).unwrap();
    state.apply(&back.record);
    assert_eq!(state.of("chat-0").unwrap().phase, Phase::Isolated);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let state =
        State::new(1, vec![incident("1-1", "chat-0", Phase::Acting)], Standing::default(), BEGIN);
    let (world, book) = ([seen(0, true, 1)], Book::default());
    let owner = || "me".to_owned();
    let id = |id: &str| id.to_owned();
    for order in [
        Order::Approve { id: id("9-9"), owner: owner() },
        Order::Approve { id: id("1-1"), owner: owner() },
        Order::Force { id: id("1-1"), step: "restart".into(), owner: owner() },
        Order::Force { id: id("1-1"), step: "explode".into(), owner: owner() },
        Order::Resume { target: "chat-0".into(), owner: owner() },
        Order::ResetStorm { owner: owner() },
    ] {
        let refused = obey(&state, &world, &book, order.clone(), BEGIN);
        assert!(refused.is_err(), "{order:?}");
    }
    assert!(super::machine::next(Phase::Acting, None, Event::Pause).is_err());
}
