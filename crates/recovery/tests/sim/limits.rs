//! What holds recovery back: people, storms, another process, no data.

use crate::world::{Is, Sim, last, pass, reaches, start, until};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{About, Action, Pause, Phase, Playbook, Rules, Step, Verify, When};
use evenkeel_recovery::{Book, Order};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

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
    let playbooks = vec![Playbook { about: About::Service("chat".into()), steps }];
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
