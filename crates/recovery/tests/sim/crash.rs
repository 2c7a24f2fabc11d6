//! Whatever dies or fails in between, it comes to the same end.

use crate::world::{Is, LOADS, Sim, last, pass, reaches, start};
use evenkeel_domain::incident::testing::MemoryJournal;
use evenkeel_domain::incident::{About, Action, Phase, Playbook, Rules, Step, Verify, When};
use evenkeel_recovery::{Book, Order};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Every action that this world can see.
fn long_book() -> Book {
    let step = |action, verify| Step {
        action,
        when: When::Always,
        timeout: Duration::from_secs(60),
        verify,
        tries: 1,
    };
    let reload = Action::Reload { path: "/reload".into(), body: "{}".into() };
    let steps = vec![
        step(Action::Isolate, Verify::None),
        step(Action::Promote, Verify::None),
        step(Action::MoveStreams, Verify::None),
        step(reload, Verify::Serves),
        step(Action::Wait, Verify::Serves),
        step(Action::Restart { grace: Duration::ZERO }, Verify::Serves),
    ];
    Book {
        rules: Rules::default(),
        playbooks: vec![Playbook { about: About::Service("chat".into()), steps }],
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_replica_is_restarted_once_and_is_over() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    let run = start(&sim, &journal, &Book::default());
    pass(5).await;
    assert!(journal.rows().is_empty(), "nothing is wrong, so nothing is written");
    sim.set("chat-1", |model| model.is = Is::Hung);
    let over = reaches(&journal, Phase::Resolved, 200).await;
    assert_eq!(sim.done("restart"), ["chat-1 1"]);
    let kinds: Vec<String> = journal.rows().into_iter().map(|row| row.entry.kind).collect();
    assert_eq!(kinds, ["confirmed", "isolated", "begin", "end", "verified", "resolved"]);
    let t = over.times;
    let all = [Some(t.onset), t.detected, t.isolated, t.mitigated, t.resolved];
    assert!(all.iter().all(Option::is_some) && all.is_sorted(), "{t:?}");
    assert!(t.mitigated.unwrap() - t.onset >= LOADS);
    run.kill().await;
}

/// Cut after each row, before and after what it orders was done: the same end, and nothing
/// that the world shows is done twice.
#[tokio::test(start_paused = true)]
async fn cut_after_every_row_it_comes_to_the_same_end() {
    let book = long_book();
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| model.is = Is::Hung);
    let run = start(&sim, &journal, &book);
    reaches(&journal, Phase::Resolved, 600).await;
    run.kill().await;
    let (rows, restarts) = (journal.rows().len(), sim.done("restart"));
    assert!(rows >= 14 && restarts.len() == 1, "{rows} {restarts:?}");
    for cut in 0..rows {
        for stuck in [false, true] {
            let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
            sim.set("chat-1", |model| model.is = Is::Hung);
            journal.break_after(Some(cut));
            if stuck {
                sim.inner
                    .lock()
                    .unwrap()
                    .stuck
                    .extend(["isolate", "restart", "promote", "request"]);
            }
            let run = start(&sim, &journal, &book);
            // Until the journal breaks, or what is stuck has been begun.
            for _ in 0..9000 {
                let begun = journal.rows().last().is_some_and(|row| row.entry.kind == "begin");
                if (run.board.why_not().is_some() && journal.rows().len() == cut)
                    || (stuck && begun)
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            run.kill().await;
            sim.inner.lock().unwrap().stuck.clear();
            journal.break_after(None);
            let run = start(&sim, &journal, &book);
            let over = reaches(&journal, Phase::Resolved, 900).await;
            assert_eq!(sim.done("restart"), restarts, "cut after row {cut}, stuck: {stuck}");
            assert_eq!(over.at, 5, "the same step has helped");
            let keys: BTreeSet<String> = sim.done("request").into_iter().collect();
            assert_eq!(keys.len(), 1, "gone on with under its key: {keys:?}");
            run.kill().await;
        }
    }
}

/// Each kind of step fails in turn: the next one follows, and in the end a person is called
/// or it serves.
#[tokio::test(start_paused = true)]
async fn whichever_step_fails_the_next_one_follows() {
    for (fail, end) in [
        ("isolate", Phase::Resolved),
        ("request", Phase::Resolved),
        ("restart", Phase::Escalated),
        ("release", Phase::Resolved),
    ] {
        let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
        sim.set("chat-1", |model| model.is = Is::Hung);
        sim.inner.lock().unwrap().fail.insert(fail);
        let run = start(&sim, &journal, &long_book());
        if fail == "release" {
            // What is never released stays out, and a person is called.
            reaches(&journal, Phase::Escalated, 900).await;
            sim.inner.lock().unwrap().fail.clear();
            sim.set("chat-1", |model| model.isolated = false);
        }
        let found = reaches(&journal, end, 900).await;
        if end == Phase::Escalated {
            assert!(found.next.contains("incident approve"), "{}", found.next);
            pass(7200).await;
            assert_eq!(last(&journal).await.unwrap().phase, Phase::Escalated, "it waits");
            // Somebody mends it: the incident ends by itself.
            sim.set("chat-1", |model| model.is = Is::Good);
            reaches(&journal, Phase::Resolved, 200).await;
        }
        run.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_does_not_mend_is_restarted_three_times_and_then_a_person_is_called() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| (model.is, model.after) = (Is::Hung, Is::Hung));
    let run = start(&sim, &journal, &Book::default());
    reaches(&journal, Phase::Escalated, 3600).await;
    assert_eq!(sim.done("restart"), ["chat-1 1", "chat-1 2", "chat-1 3"]);
    pass(7200).await;
    assert_eq!(sim.done("restart").len(), 3, "time alone does not begin anew");
    let id = last(&journal).await.unwrap().id;
    sim.set("chat-1", |model| model.after = Is::Good);
    run.handle.order(Order::Approve { id, owner: "me".into() }).await.unwrap();
    reaches(&journal, Phase::Resolved, 600).await;
    assert_eq!(sim.done("restart").len(), 4);
    run.kill().await;
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_in_probation_is_still_the_same_incident() {
    let (sim, journal) = (Sim::new(3), Arc::new(MemoryJournal::default()));
    sim.set("chat-1", |model| model.is = Is::Hung);
    let run = start(&sim, &journal, &Book::default());
    let first = reaches(&journal, Phase::Probation, 200).await;
    sim.set("chat-1", |model| model.is = Is::Hung);
    reaches(&journal, Phase::Verifying, 30).await;
    let over = reaches(&journal, Phase::Resolved, 300).await;
    assert_eq!((over.id, sim.done("restart").len()), (first.id, 2));
    assert!(over.times.mitigated > first.times.mitigated);
    run.kill().await;
}
