//! Whatever is killed, and however its children hid: nothing is left.

use std::process::Stdio;
use std::time::Duration;

use evenkeel_domain::orchestrator::Phase;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{Bench, eventually, keeper, send, sh, sleepers, unique, zombies};

/// A child, a detached one, a daemon (double fork), and one that sheds session and
/// environment both.
const KINDS: usize = 4;

fn family(time: &str) -> String {
    format!(
        "sleep {time} & setsid sleep {time} & (setsid sh -c 'sleep {time} & exit' &) ; \
         trap '' TERM; env -i setsid sleep {time} & while :; do wait; done"
    )
}

/// The same without the one that sheds every mark while it is being orphaned.
fn marked_family(time: &str) -> String {
    format!("sleep {time} & setsid sleep {time} & (setsid sh -c 'sleep {time} & exit' &) ; wait")
}

#[tokio::test]
async fn a_stop_takes_daemons_with_it() {
    let (bench, time) = (Bench::new(), unique());
    let mut spec = sh(&family(&time));
    spec.stop_grace = Duration::from_millis(200);
    bench.run(spec);
    eventually("the family runs", || sleepers(&time).len() == KINDS).await;
    bench.supervisor.stop("a-1").unwrap();
    let status = bench.stopped("a-1").await;
    assert_eq!(sleepers(&time), [0_u32; 0]);
    assert!(status.last_exit.unwrap().contains("SIGKILL"));
}

#[tokio::test]
async fn what_outlives_the_command_is_killed_before_the_next_start() {
    let (bench, time) = (Bench::new(), unique());
    bench.run(sh(&format!("(setsid sleep {time} &); [ -e $0.x ] || exit 3")));
    bench.until("a-1", "restarted", |status| status.incarnation >= 3).await;
    bench.supervisor.stop("a-1").unwrap();
    bench.stopped("a-1").await;
    assert_eq!(sleepers(&time), [0_u32; 0]);
}

#[tokio::test]
async fn the_keeper_is_killed_and_everything_with_it() {
    let (dir, time) = (tempfile::tempdir().unwrap(), unique());
    let specs: Vec<_> = (0..3)
        .map(|i| {
            let mut spec = sh(&family(&time));
            spec.name = format!("a-{i}");
            spec
        })
        .collect();
    let mut child = Command::new(keeper())
        .arg("run")
        .arg(dir.path())
        .arg(serde_json::to_string(&specs).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().matches("\"ready\"").count().eq(&3) {}
    eventually("the families run", || sleepers(&time).len() == 3 * KINDS).await;
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    eventually("all are gone", || sleepers(&time).is_empty()).await;
}

#[tokio::test]
async fn a_guard_is_killed_and_its_orphans_with_it() {
    let (bench, time) = (Bench::new(), unique());
    bench.run(sh(&marked_family(&time)));
    let first = bench.ready("a-1").await;
    eventually("the family runs", || sleepers(&time).len() == 3).await;
    let old = sleepers(&time);
    send(first.guard_pid.unwrap(), Signal::KILL);
    let second =
        bench.until("a-1", "restarted", |status| status.incarnation == 2 && status.pid.is_some());
    let second = second.await;
    assert!(second.last_exit.unwrap().contains("guard was killed"));
    assert!(sleepers(&time).iter().all(|pid| !old.contains(pid)), "some of {old:?} are left");
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
    assert_eq!(sleepers(&time), [0_u32; 0]);
    assert_eq!(zombies(), [""; 0]);
}

#[tokio::test]
async fn a_guard_takes_no_notice_of_signals_that_are_meant_for_the_keeper() {
    let bench = Bench::new();
    bench.run(sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"));
    let status = bench.ready("a-1").await;
    eventually("it is up", || bench.log("a-1").contains("up\n")).await;
    send(status.guard_pid.unwrap(), Signal::TERM);
    send(status.guard_pid.unwrap(), Signal::INT);
    bench.supervisor.stop("a-1").unwrap();
    let status = bench.stopped("a-1").await;
    assert!(status.last_exit.unwrap().starts_with("exited with code 7"));
}

#[tokio::test]
async fn a_guard_that_hangs_is_killed_around() {
    let (bench, time) = (Bench::new(), unique());
    bench.run(sh(&format!("exec sleep {time}")));
    let status = bench.ready("a-1").await;
    send(status.guard_pid.unwrap(), Signal::STOP);
    bench.supervisor.restart("a-1", Some(Duration::from_millis(100))).unwrap();
    let restarted = |status: &evenkeel_domain::orchestrator::InstanceStatus| {
        status.incarnation == 2 && status.pid.is_some()
    };
    let status = bench.until("a-1", "restarted", restarted).await;
    eventually("one is left", || sleepers(&time) == [status.pid.unwrap()]).await;
    assert!(matches!(status.phase, Phase::Starting { .. }));
    bench.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_fork_bomb_does_not_escape() {
    let (bench, time) = (Bench::new(), unique());
    // Each process starts the next and ends, for ever: no scan sees it twice.
    let script = format!(
        "export F='sleep 0.002; setsid sh -c \"$F\" & [ $$ -gt 0 ] || sleep {time}'; \
        for i in 1 2 3; do sh -c \"$F\"; done; exec sleep {time}"
    );
    bench.run(sh(&script));
    bench.ready("a-1").await;
    eventually("it runs", || !sleepers(&time).is_empty() && !sleepers("0.002").is_empty()).await;
    bench.supervisor.restart("a-1", None).unwrap();
    bench.until("a-1", "restarted", |status| status.incarnation == 2).await;
    bench.supervisor.shutdown(Duration::from_secs(1)).await;
    eventually("the bomb is gone", || sleepers("0.002").is_empty()).await;
}
