//! Limits ahead: incidents about what has not happened, within the limits of those that have.

use crate::world::{BEGIN, Is, Sim, last, pass, reaches, start, until};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{
    About, Action, Cause, FOREVER, Foreseen, Outlook, Pause, Phase, Playbook, Step, Verify, When,
};
use evenkeel_recovery::{Book, Order};
use std::sync::Arc;
use std::time::Duration;

fn leak(due: Option<&str>) -> Outlook {
    let renew = Step {
        action: Action::Renew,
        when: When::Always,
        timeout: Duration::from_secs(900),
        verify: Verify::Serves,
        tries: FOREVER,
    };
    let foreseen = Foreseen {
        check: "leak".into(),
        subject: "chat-0".into(),
        measure: "memory".into(),
        text: "memory reaches its limit in about 3 h".into(),
        at: BEGIN + 10_000_000,
        again: Duration::from_secs(3600),
        path: None,
    };
    Outlook { foreseen, due: due.map(Into::into), steps: vec![renew] }
}

#[tokio::test(start_paused = true)]
async fn what_leaks_is_renewed_at_a_quiet_time_and_is_over() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    sim.set("chat-0", |model| model.ahead = Some(leak(None)));
    let open = reaches(&journal, Phase::Confirmed, 5).await;
    assert_eq!((open.cause, open.target.as_str()), (Cause::Forecast, "chat-0"));
    pass(3600).await;
    let (_, held) = run.board.view().open[0].clone();
    assert!(held.contains("quiet time") && sim.done("renew").is_empty(), "{held}");
    sim.set("chat-0", |model| model.ahead = Some(leak(Some("it is a quiet time"))));
    let over = reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!(sim.done("renew"), ["chat-0 1"]);
    assert!(sim.done("isolate").is_empty() && over.times.isolated.is_none(), "it served");
    let kinds: Vec<String> = journal.rows().into_iter().map(|row| row.entry.kind).collect();
    assert_eq!(kinds, ["confirmed", "begin", "end", "verified", "resolved"]);
    assert_eq!(run.board.detect.snapshot().count(), 0, "nothing was detected late");
    run.kill().await;
}

/// A restart before a failure counts as one after it: floor, back-off and pauses hold.
#[tokio::test(start_paused = true)]
async fn the_limits_hold_for_what_is_ahead() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    // The only other one hangs and is being restarted: one at once, and one must serve.
    sim.set("chat-1", |model| (model.is, model.after) = (Is::Hung, Is::Hung));
    pass(5).await;
    sim.set("chat-0", |model| model.ahead = Some(leak(Some("there is no time left"))));
    let held = || {
        let view = run.board.view();
        let of = view.open.iter().find(|(one, _)| one.target == "chat-0");
        of.map(|(_, held)| held.clone()).unwrap_or_default()
    };
    until("a limit holds it", 10, || held().contains("of its service")).await;
    assert!(sim.done("renew").is_empty());
    let (target, until_) = ("chat-0".to_owned(), BEGIN + 3_600_000);
    let pause = Pause { target, owner: "me".into(), why: "a test".into(), until: until_ };
    run.handle.order(Order::Pause(pause)).await.unwrap();
    sim.set("chat-1", |model| (model.is, model.after) = (Is::Good, Is::Good));
    pass(600).await;
    assert!(held().contains("paused by me") && sim.done("renew").is_empty(), "{}", held());
    until("it is renewed once the pause is over", 4000, || sim.done("renew").len() == 1).await;
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_about_first_is_an_incident_like_any_other() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    sim.set("chat-0", |model| model.ahead = Some(leak(None)));
    let open = reaches(&journal, Phase::Confirmed, 5).await;
    sim.set("chat-0", |model| (model.is, model.ahead) = (Is::Hung, None));
    let over = reaches(&journal, Phase::Resolved, 600).await;
    assert_eq!((&over.id, over.cause), (&open.id, Cause::Hung));
    assert_eq!(sim.done("restart"), ["chat-0 1"]);
    let kinds: Vec<String> = journal.rows().into_iter().map(|row| row.entry.kind).collect();
    assert!(kinds.contains(&"overtaken".into()), "{kinds:?}");
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_does_not_get_through_is_given_again_soon_and_a_person_comes_first() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    sim.inner.lock().unwrap().fail.insert("renew");
    let due = leak(Some("there is no time left"));
    sim.set("chat-0", |model| model.ahead = Some(due));
    until("it is tried", 60, || journal.rows().iter().any(|row| row.entry.kind == "end")).await;
    sim.inner.lock().unwrap().fail.clear();
    sim.set("chat-0", |model| model.ordered = true);
    pass(120).await;
    assert!(sim.done("renew").is_empty(), "a person has taken it out");
    sim.set("chat-0", |model| model.ordered = false);
    until("it is ordered again", 60, || sim.done("renew").len() == 1).await;
    reaches(&journal, Phase::Resolved, 300).await;
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_playbook_of_its_own_comes_in_place_and_survives_a_crash() {
    let step = |action| Step {
        action,
        when: When::Always,
        timeout: Duration::from_secs(60),
        verify: Verify::None,
        tries: 1,
    };
    let steps = vec![step(Action::Ask { text: "may it?".into() }), step(Action::Renew)];
    let about = |about| Playbook { about, steps: steps.clone() };
    let playbooks = vec![about(About::Foreseen("chat".into()))];
    let book = Book { playbooks, ..Book::default() };
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &book);
    pass(2).await;
    sim.set("chat-0", |model| model.ahead = Some(leak(Some("now"))));
    let asked = reaches(&journal, Phase::Escalated, 10).await;
    sim.inner.lock().unwrap().stuck.insert("renew");
    let (id, owner) = (asked.id.clone(), "me".to_owned());
    run.handle.order(Order::Approve { id, owner }).await.unwrap();
    reaches(&journal, Phase::Acting, 10).await;
    run.kill().await;
    sim.inner.lock().unwrap().stuck.clear();
    let run = start(&sim, &journal, &book);
    reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!(sim.done("renew"), ["chat-0 1"], "although it serves, it is gone on with");
    // Another service's playbook says nothing here: people are told, and nothing is done.
    run.kill().await;
    let playbooks = vec![about(About::Check("disk".into()))];
    let run = start(&sim, &journal, &Book { playbooks, ..Book::default() });
    let rows = journal.rows().len();
    sim.set("chat-0", |model| model.ahead = Some(Outlook { steps: Vec::new(), ..leak(None) }));
    pass(600).await;
    assert_eq!(journal.rows().len(), rows, "{:?}", last(&journal).await);
    run.kill().await;
}

/// A process that begins anew has checks that begin anew: they cannot know yet.
#[tokio::test(start_paused = true)]
async fn what_a_new_process_does_not_see_yet_is_not_over() {
    let (sim, journal) = (Sim::new(2), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(2).await;
    sim.set("chat-0", |model| model.ahead = Some(leak(None)));
    let open = reaches(&journal, Phase::Confirmed, 5).await;
    run.kill().await;
    sim.set("chat-0", |model| model.ahead = None);
    let run = start(&sim, &journal, &Book::default());
    pass(300).await;
    let (same, held) = run.board.view().open[0].clone();
    assert!(same.id == open.id && same.phase == Phase::Confirmed, "{same:?}");
    assert!(held.contains("not known yet"), "{held}");
    sim.set("chat-0", |model| model.ahead = Some(leak(None)));
    pass(5).await;
    sim.set("chat-0", |model| model.ahead = None);
    let over = reaches(&journal, Phase::Resolved, 120).await;
    assert_eq!(over.id, open.id);
    run.kill().await;
}
