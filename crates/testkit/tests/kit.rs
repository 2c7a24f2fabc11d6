//! The kit tested with itself.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use evenkeel_domain::clock::now;
use evenkeel_testkit::{
    Behaviour, Break, Ended, FaultProxy, Oracle, Process, Replica, Verdict, ports, process, tempdir,
};
use std::process::Command;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn good_answers_are_known_as_such() {
    let replica = Replica::start(Behaviour::Good).await;
    let oracle = Oracle::new(&replica.url());
    let pace = Behaviour::Paced { first: 50 * MS, gap: 20 * MS };
    replica.script([Behaviour::Good, Behaviour::Good, pace, Behaviour::SlowHead(40 * MS)]);
    assert!(oracle.ask("a", 5, false).await.is_ok());
    assert!(oracle.ask("b", 5, true).await.is_ok());
    let paced = oracle.ask("c", 5, true).await;
    assert!(paced.is_ok(), "{paced:?}");
    assert!(paced.first.unwrap() >= 50 * MS && paced.longest_gap >= 20 * MS, "{paced:?}");
    assert!(paced.waited >= 130 * MS, "{paced:?}");
    let slow = oracle.ask("d", 5, false).await;
    assert!(slow.is_ok() && slow.waited >= 40 * MS, "{slow:?}");
    let slow = {
        replica.script([Behaviour::SlowBody(40 * MS)]);
        oracle.ask("d", 5, false).await
    };
    assert!(slow.is_ok() && slow.waited >= 40 * MS, "{slow:?}");
    let counts = replica.counts();
    assert_eq!((counts.begun, counts.finished, counts.open()), (5, 5, 0));
    assert_eq!(replica.requests()[0].path, "/v1/chat/completions");
}

#[tokio::test]
async fn bad_answers_are_told_apart() {
    let replica = Replica::start(Behaviour::Good).await;
    let mut oracle = Oracle::new(&replica.url());
    oracle.deadline = 100 * MS;
    let broken = |how| Behaviour::Break { after: 3, gap: MS, how };
    let status = |status| Behaviour::Status { status, retry_after: Some(2) };
    let table = [
        (Behaviour::Lie, false, "wrong"),
        (Behaviour::Lie, true, "wrong"),
        (status(429), false, "failed"),
        (status(500), true, "failed"),
        (Behaviour::Hang, false, "failed"),
        (Behaviour::Close, false, "failed"),
        (Behaviour::Reset, true, "failed"),
        (Behaviour::TruncatedJson, false, "truncated"),
        (Behaviour::Empty, false, "truncated"),
        (Behaviour::Empty, true, "truncated"),
        (broken(Break::Cut), true, "truncated"),
        (broken(Break::Cut), false, "truncated"),
        (broken(Break::Reset), true, "truncated"),
        (broken(Break::Stall), true, "failed"),
        (broken(Break::End), true, "truncated"),
        (broken(Break::ErrorEvent), true, "failed"),
        (broken(Break::Garbage), true, "wrong"),
    ];
    for (behaviour, stream, right) in table {
        replica.script([behaviour.clone()]);
        let seen = oracle.ask("a", 9, stream).await;
        let got = match seen.verdict {
            Verdict::Ok => "ok",
            Verdict::Wrong(_) => "wrong",
            Verdict::Truncated(_) => "truncated",
            Verdict::Failed(_) => "failed",
        };
        assert_eq!(got, right, "{behaviour:?}: {seen:?}");
    }
    replica.script([status(429)]);
    assert_eq!(oracle.ask("a", 9, false).await.headers["retry-after"], "2");
}

#[tokio::test]
async fn a_client_that_leaves_is_seen() {
    let behaviours = [
        Behaviour::Hang,
        Behaviour::Paced { first: Duration::ZERO, gap: 10 * MS },
        Behaviour::Break { after: 2, gap: MS, how: Break::Stall },
    ];
    for behaviour in behaviours {
        let replica = Replica::start(behaviour.clone()).await;
        let mut oracle = Oracle::new(&replica.url());
        oracle.deadline = 50 * MS;
        let stream = behaviour != Behaviour::Hang;
        assert!(!oracle.ask("a", 1_000, stream).await.is_ok());
        let left = now();
        let counts = replica.wait_for(500 * MS, |c| c.cancelled == 1).await.unwrap();
        assert_eq!((counts.begun, counts.finished), (1, 0));
        let (at, how) = replica.requests()[0].ended.unwrap();
        assert_eq!(how, Ended::Cancelled);
        assert!(at < left + 100 * MS, "{behaviour:?}: {:?}", at - left);
    }
}

#[tokio::test]
async fn a_cancel_goes_through_a_fault_proxy() {
    let replica = Replica::start(Behaviour::Paced { first: Duration::ZERO, gap: 5 * MS }).await;
    let proxy = FaultProxy::start(replica.addr()).await.unwrap();
    let mut oracle = Oracle::new(&proxy.url());
    assert!(oracle.ask("a", 3, true).await.is_ok());
    oracle.deadline = 50 * MS;
    assert!(!oracle.ask("a", 1_000, true).await.is_ok());
    replica.wait_for(500 * MS, |c| c.cancelled == 1).await.unwrap();
}

#[tokio::test]
async fn probes_follow_the_usual_behaviour() {
    let replica = Replica::start(Behaviour::Good).await;
    let url = format!("{}/health", replica.url());
    assert_eq!(process::status(&url).await, Ok(200));
    replica.behave(Behaviour::Status { status: 503, retry_after: None });
    assert_eq!(process::status(&url).await, Ok(503));
    assert_eq!((replica.counts().probes, replica.counts().begun), (2, 0));
}

#[tokio::test]
async fn a_child_is_watched_and_does_not_outlive_its_guard() {
    let dir = tempdir();
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo ready; sleep 600 & echo child $!; wait"]);
    let mut child = Process::start("sh", &mut shell, dir.path());
    child.wait_for_line("ready", 5_000 * MS).await.unwrap();
    let line = child.wait_for_line("child", 5_000 * MS).await.unwrap();
    let grandchild: i32 = line.split(' ').nth(1).unwrap().parse().unwrap();
    let missing = child.wait_for_line("never", 30 * MS).await.unwrap_err();
    assert!(missing.contains("ready"), "{missing}");
    assert_eq!(child.wait(30 * MS).await, None);
    drop(child);
    // A zombie whose parent is gone may stay until its new parent looks.
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().next().map(str::to_owned)
    };
    let deadline = now() + 2_000 * MS;
    while state().is_some_and(|s| s != "Z") {
        assert!(now() < deadline, "the grandchild lives");
        tokio::time::sleep(5 * MS).await;
    }
}

#[tokio::test]
async fn a_killed_child_is_told() {
    let dir = tempdir();
    let mut child = Process::start("sleep", Command::new("sleep").arg("600"), dir.path());
    child.kill9();
    assert!(!child.wait(5_000 * MS).await.unwrap().success());
    let [a, b] = ports::free_ports();
    let url = format!("http://127.0.0.1:{a}/");
    assert!(a != b && child.wait_for_ok(&url, 5_000 * MS).await.is_err());
}
