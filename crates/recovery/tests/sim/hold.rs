//! What incidents keep in force beyond their steps: it begins with a row, survives a crash, and
//! ends.

use crate::world::{Is, Run, Sim, pass, reaches, start, until};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{
    About, Action, Elsewhere, Incident, More, Phase, Playbook, Rules, Step, Verify, When,
};
use evenkeel_recovery::{Book, Order};
use std::sync::Arc;
use std::time::Duration;

fn book(actions: Vec<Action>) -> Book {
    let step = |action: Action| Step {
        verify: if action.changes() { Verify::Serves } else { Verify::None },
        action,
        when: When::Always,
        timeout: Duration::from_secs(60),
        tries: 1,
    };
    let steps = actions.into_iter().map(step).collect();
    let playbooks = vec![Playbook { about: About::Service("chat".into()), steps }];
    Book { rules: Rules::default(), playbooks }
}

fn fail_over() -> Action {
    Action::FailOver { to: Elsewhere::Service("spare".into()) }
}

fn restart() -> Action {
    Action::Restart { grace: Duration::ZERO }
}

fn stands_in(sim: &Sim) -> bool {
    sim.inner.lock().unwrap().stand_ins.contains_key("chat")
}

fn of(run: &Run, target: &str) -> Incident {
    let view = run.board.view();
    view.open.iter().find(|(one, _)| one.target == target).unwrap().0.clone()
}

#[tokio::test(start_paused = true)]
async fn another_service_answers_only_while_none_of_its_own_can() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &book(vec![fail_over()]));
    pass(2).await;
    sim.set("chat-0", |model| model.is = Is::Hung);
    reaches(&journal, Phase::Escalated, 60).await;
    assert!(!stands_in(&sim), "chat-1 can answer");
    sim.set("chat-1", |model| model.is = Is::Hung);
    until("it is failed over", 60, || stands_in(&sim)).await;
    reaches(&journal, Phase::Escalated, 60).await;
    // As after a crash: what the journal says is in force at once.
    run.kill().await;
    sim.inner.lock().unwrap().stand_ins.clear();
    let run = start(&sim, &journal, &book(vec![fail_over()]));
    until("it is failed over again", 5, || stands_in(&sim)).await;
    assert_eq!(of(&run, "chat-1").holds.len(), 1);
    assert!(of(&run, "chat-0").holds.is_empty(), "one is enough");
    // The other's own incident is over: nobody needs to wait for the one that began it.
    sim.set("chat-0", |model| model.is = Is::Good);
    pass(30).await;
    assert!(stands_in(&sim), "it has to serve for a while first");
    until("it answers by itself", 120, || !stands_in(&sim)).await;
    let kinds: Vec<String> = journal.rows().into_iter().map(|row| row.entry.kind).collect();
    assert!(kinds.contains(&"fail_back".into()), "{kinds:?}");
    assert_eq!(of(&run, "chat-1").phase, Phase::Escalated);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_undone_with_the_incident_by_a_person_and_where_it_fails() {
    let (sim, journal) = (Sim::new(1), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &book(vec![fail_over(), restart()]));
    pass(2).await;
    sim.set("chat-0", |model| model.is = Is::Hung);
    let open = reaches(&journal, Phase::Verifying, 60).await;
    assert!(stands_in(&sim) && open.holds.len() == 1);
    let over = reaches(&journal, Phase::Resolved, 300).await;
    until("it answers by itself", 1, || !stands_in(&sim)).await;
    assert!(over.holds.is_empty());
    // A person ends it, and begins it again although nobody has to.
    sim.set("chat-0", |model| (model.is, model.after) = (Is::Hung, Is::Hung));
    until("it is failed over", 60, || stands_in(&sim)).await;
    let id = of(&run, "chat-0").id;
    let undo = || Order::Undo { id: id.clone(), owner: "me".into() };
    run.handle.order(undo()).await.unwrap();
    assert!(!stands_in(&sim));
    let twice = run.handle.order(undo()).await.unwrap_err().to_string();
    assert!(twice.contains("nothing in force"), "{twice}");
    reaches(&journal, Phase::Escalated, 3600).await;
    sim.inner.lock().unwrap().fail.insert("can_answer");
    let force = || Order::Force { id: id.clone(), step: "fail_over".into(), owner: "me".into() };
    run.handle.order(force()).await.unwrap();
    reaches(&journal, Phase::Escalated, 60).await;
    until("what cannot be is not kept", 5, || !stands_in(&sim)).await;
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn copies_are_started_once_whatever_dies_in_between() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let more = Action::Scale { more: More::Add(2) };
    let book = book(vec![more, restart()]);
    sim.inner.lock().unwrap().stuck.insert("copies");
    let run = start(&sim, &journal, &book);
    pass(2).await;
    sim.set("chat-0", |model| model.is = Is::Hung);
    let held = reaches(&journal, Phase::Acting, 60).await;
    assert_eq!(held.copies(), Some(3), "two and two are four, and three may be");
    run.kill().await;
    // They run by now: a step that looked at the world anew would ask for more.
    sim.inner.lock().unwrap().copies = 3;
    sim.inner.lock().unwrap().stuck.clear();
    let run = start(&sim, &journal, &book);
    let over = reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!(sim.done("copies"), ["chat-0 2 3"], "as it was written down");
    assert!(over.holds.is_empty() && sim.done("restart").len() == 1);
    run.kill().await;
}

/// A step that is passed over does not open the way to those behind it.
#[tokio::test(start_paused = true)]
async fn a_storm_lets_another_service_answer_and_nothing_else_be_done() {
    let (sim, journal) = (Sim::new(4), Arc::new(MemoryJournal::default()));
    let rules = Rules { storm_targets: 1, storm_percent: 0, ..Rules::default() };
    let run = start(&sim, &journal, &Book { rules, ..book(vec![fail_over(), restart()]) });
    pass(2).await;
    for n in 0..3 {
        sim.set(&format!("chat-{n}"), |model| (model.is, model.after) = (Is::Hung, Is::Hung));
    }
    let board = run.board.clone();
    until("a storm", 900, || board.view().standing.storm.is_some()).await;
    pass(5).await;
    let (rows, restarts) = (journal.rows().len(), sim.done("restart").len());
    pass(600).await;
    assert!(!stands_in(&sim), "one of its own serves");
    assert_eq!((journal.rows().len(), sim.done("restart").len()), (rows, restarts));
    sim.set("chat-3", |model| model.is = Is::Hung);
    until("it is failed over", 60, || stands_in(&sim)).await;
    assert_eq!(sim.done("restart").len(), restarts);
    run.kill().await;
}
