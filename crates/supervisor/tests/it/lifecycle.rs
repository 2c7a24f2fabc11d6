//! Start, ready, stop, restart, change.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, Orchestrator, OrchestratorError, Phase,
};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Bench, eventually, send, sh, sleepers, unique};

#[tokio::test]
async fn a_stop_lets_it_finish() {
    let bench = Bench::new();
    bench.run(sh("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"));
    bench.ready("a-1").await;
    eventually("it is up", || bench.log("a-1").contains("up\n")).await;
    bench.supervisor.stop("a-1").unwrap();
    let status = bench.stopped("a-1").await;
    assert!(status.last_exit.unwrap().starts_with("exited with code 0"));
    assert!(status.pid.is_none() && status.guard_pid.is_none());
    let log = bench.log("a-1");
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].starts_with("--- started pid ") && lines[0].contains(" incarnation 1 at "));
    assert_eq!(lines[1], "up");
    assert!(lines.contains(&"bye"), "{log}");
    assert!(lines.last().unwrap().starts_with("--- exited with code 0 at "), "{log}");

    bench.supervisor.start("a-1").unwrap();
    let status = bench.ready("a-1").await;
    assert_eq!((status.incarnation, status.restarts), (2, 1));
}

#[tokio::test]
async fn what_ignores_the_request_is_killed_when_its_grace_is_over() {
    let (bench, time) = (Bench::new(), unique());
    let mut spec = sh(&format!("trap '' TERM; exec sleep {time}"));
    spec.stop_grace = Duration::from_millis(200);
    bench.run(spec);
    eventually("it runs", || !sleepers(&time).is_empty()).await;
    bench.supervisor.stop("a-1").unwrap();
    let status = bench.stopped("a-1").await;
    assert!(status.last_exit.unwrap().contains("SIGKILL"));
    assert_eq!(sleepers(&time), [0_u32; 0]);
}

#[tokio::test]
async fn a_shutdown_stops_all_at_the_same_time_and_takes_no_more_wishes() {
    let (bench, time) = (Bench::new(), unique());
    let spec = |i: u32| InstanceSpec {
        name: format!("a-{i}"),
        ..sh(&format!("trap '' TERM; sleep {time}; sleep {time}; exec sleep {time}"))
    };
    bench.supervisor.apply((0..6).map(spec).collect()).unwrap();
    eventually("they run", || sleepers(&time).len() == 6).await;
    // One is being stopped already, with all the time in the world.
    bench.supervisor.stop("a-3").unwrap();
    let began = Instant::now();
    bench.supervisor.shutdown(Duration::from_millis(500)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(sleepers(&time), [0_u32; 0]);
    assert!(bench.supervisor.statuses().iter().all(|status| status.pid.is_none()));
    let refused = bench.supervisor.start("a-1");
    assert!(matches!(refused, Err(OrchestratorError::Unavailable(_))));
}

#[tokio::test]
async fn templates_and_environment_reach_the_command() {
    let bench = Bench::new();
    let mut spec = sh("echo \"$1 $CUDA $EVENKEEL_REPLICA $EVENKEEL_PORT $PWD\"; exec sleep 1000");
    spec.command.extend(["x".into(), "--port={port}".into()]);
    spec.env.insert("CUDA".into(), "{index}".into());
    (spec.index, spec.cwd) = (2, Some("/usr".into()));
    bench.run(spec);
    let port = bench.started("a-1").await.port.unwrap();
    let line = format!("--port={port} 2 a-1 {port} /usr\n");
    eventually("it prints", || bench.log("a-1").contains(&line)).await;
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_user_is_taken_on_whole() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    let mut spec = sh(
        "echo \"$(id -un) $(id -G) $HOME $USER $(grep SigBlk /proc/self/status)\"; exec sleep 1000",
    );
    spec.user = Some("nobody".into());
    bench.run(spec);
    bench.started("a-1").await;
    eventually("it prints", || bench.log("a-1").contains("nobody")).await;
    let log = bench.log("a-1");
    let groups = std::process::Command::new("id").args(["-G", "nobody"]).output().unwrap().stdout;
    let groups = String::from_utf8(groups).unwrap();
    assert!(log.contains(&format!("nobody {} /", groups.trim())), "{log}");
    assert!(log.contains(" nobody SigBlk:\t0000000000000000"), "{log}");
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_apply_touches_only_what_differs() {
    let bench = Bench::new();
    let named = |name: &str, script: &str| InstanceSpec { name: name.into(), ..sh(script) };
    let kept = named("kept", "exec sleep 1000");
    let all = vec![kept.clone(), named("gone", "exec sleep 1000"), named("new", "exec sleep 1001")];
    bench.supervisor.apply(all).unwrap();
    for name in ["kept", "gone", "new"] {
        bench.ready(name).await;
    }
    let before = bench.started("kept").await;
    // What its process does not see is changed without a restart.
    let kept = InstanceSpec { stop_grace: Duration::from_secs(3), ..kept };
    let next = vec![kept, named("new", "exec sleep 1002"), named("more", "exec sleep 1003")];
    bench.supervisor.apply(next.clone()).unwrap();
    bench.until("new", "replaced", |s| s.incarnation == 2 && s.pid.is_some()).await;
    bench.started("more").await;
    let mut statuses = bench.supervisor.subscribe();
    statuses.wait_for(|all| all.iter().all(|status| status.name != "gone")).await.unwrap();
    assert_eq!(bench.started("kept").await, before);
    assert!(matches!(bench.supervisor.stop("gone"), Err(OrchestratorError::Unknown(_))));

    // One bad spec, and nothing changes.
    let mut bad = next;
    bad.push(InstanceSpec::new("bad", "a", &["serve"]));
    let error = bench.supervisor.apply(bad).unwrap_err().to_string();
    assert!(error.starts_with("bad: ") && error.contains("{port}"), "{error}");
    assert_eq!(bench.started("kept").await, before);
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn removed_and_wanted_again_it_comes_back() {
    let bench = Bench::new();
    let spec = sh("trap '' TERM; sleep 0.5; exit 0");
    for _ in 0..5 {
        bench.run(spec.clone());
        bench.started("a-1").await;
        bench.supervisor.apply(Vec::new()).unwrap();
    }
    bench.run(spec);
    let runs = |status: &InstanceStatus| matches!(status.phase, Phase::Starting { .. });
    bench.until("a-1", "running", |status| runs(status) && status.pid.is_some()).await;
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_port_is_kept_unless_it_may_be_to_blame() {
    let bench = Bench::new();
    bench.run(sh("exec sleep 1000"));
    let first = bench.ready("a-1").await;
    send(first.pid.unwrap(), Signal::KILL);
    let second = bench.until("a-1", "back", |s| s.incarnation == 2 && s.pid.is_some()).await;
    assert_eq!(second.port, first.port);
    // Never ready, and gone at once: perhaps it could not bind.
    send(second.pid.unwrap(), Signal::KILL);
    let third = bench.until("a-1", "back", |s| s.incarnation == 3 && s.pid.is_some()).await;
    assert_ne!(third.port, first.port);
    // Somebody sits on it while it is away.
    bench.ready("a-1").await;
    bench.supervisor.stop("a-1").unwrap();
    bench.stopped("a-1").await;
    let _squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, third.port.unwrap())).unwrap();
    bench.supervisor.start("a-1").unwrap();
    assert_ne!(bench.started("a-1").await.port, third.port);
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn scaling_stops_the_last_and_starts_what_was_stopped() {
    let bench = Bench::new();
    let port: &dyn Orchestrator = &bench.supervisor;
    let spec = |i: u32| InstanceSpec { name: format!("a-{i}"), index: i, ..sh("exec sleep 1000") };
    port.apply((0..3).map(spec).collect()).await.unwrap();
    for name in ["a-0", "a-1", "a-2"] {
        bench.ready(name).await;
    }
    port.scale("a", 1).await.unwrap();
    bench.stopped("a-1").await;
    bench.stopped("a-2").await;
    assert_eq!(bench.started("a-0").await.incarnation, 1);
    port.scale("a", 2).await.unwrap();
    bench.started("a-1").await;
    assert!(matches!(port.scale("a", 4).await, Err(OrchestratorError::Unsupported(_))));
    assert!(matches!(port.scale("b", 1).await, Err(OrchestratorError::Unknown(_))));
    assert_eq!(port.statuses().await.unwrap().len(), 3);
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_late_word_of_readiness_counts_for_its_own_incarnation_only() {
    let bench = Bench::new();
    bench.run(sh("exec sleep 1000"));
    bench.ready("a-1").await;
    assert_eq!(bench.supervisor.restart("a-1", None), Ok(1));
    let second = bench.until("a-1", "back", |s| s.incarnation == 2 && s.pid.is_some()).await;
    bench.supervisor.mark_ready("a-1", 1).unwrap();
    bench.supervisor.apply(Vec::new()).unwrap();
    let mut statuses = bench.supervisor.subscribe();
    let all = statuses.wait_for(|all| all.iter().all(|s| s.phase != second.phase)).await.unwrap();
    assert!(all.iter().all(|status| status.phase != Phase::Ready));
}
