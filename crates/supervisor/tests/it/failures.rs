//! What cannot start, does not become ready, or ends again and again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use evenkeel_domain::orchestrator::{InstanceSpec, Phase};

use crate::support::{Bench, eventually, sh, sleepers, unique};

async fn message(change: impl FnOnce(&mut InstanceSpec, &Bench)) -> String {
    let bench = Bench::new();
    let mut spec = sh("exec sleep 1000");
    change(&mut spec, &bench);
    bench.run(spec);
    let message = bench.failed("a-1").await;
    assert!(!message.contains('\n') && message.starts_with("cannot start a-1: "), "{message}");
    eventually("the log tells too", || {
        message.contains("port") || bench.log("a-1").contains(&message)
    })
    .await;
    bench.supervisor.shutdown(Duration::ZERO).await;
    message
}

#[tokio::test]
async fn what_cannot_start_says_what_helps() {
    let text = message(|spec, _| spec.command = vec!["no-such-server".into()]).await;
    assert!(text.contains("\"no-such-server\" is not in PATH; install it"), "{text}");

    let text = message(|spec, _| spec.command = vec!["/no/such/server".into()]).await;
    assert!(text.contains("/no/such/server does not exist"), "{text}");

    let text = message(|spec, _| spec.cwd = Some("/no/such/place".into())).await;
    assert!(text.contains("`cwd` /no/such/place does not exist; create it"), "{text}");

    let text = message(|spec, _| spec.cwd = Some("/etc/passwd".into())).await;
    assert!(text.contains("is not a directory"), "{text}");

    let text = message(|spec, _| spec.user = Some("no-such-user".into())).await;
    assert!(text.contains("there is no user \"no-such-user\""), "{text}");

    let file = |name: &'static str, mode: u32, content: &'static str| {
        move |spec: &mut InstanceSpec, bench: &Bench| {
            let path = bench.path(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            spec.command = vec![path];
        }
    };
    let text = message(file("plain", 0o644, "#!/bin/sh\n")).await;
    assert!(text.contains("may not execute") && text.contains("chmod +x"), "{text}");

    let text = message(file("script", 0o755, "#!/no/such/shell\n")).await;
    assert!(text.contains("interpreter"), "{text}");
}

#[tokio::test]
async fn a_directory_that_the_user_may_not_enter() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let text = message(|spec, bench| {
        let path = bench.path("private");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        (spec.user, spec.cwd) = (Some("nobody".into()), Some(path.into()));
    })
    .await;
    assert!(text.contains("nobody may not enter") || text.contains("cannot be used"), "{text}");
}

#[tokio::test]
async fn a_fixed_port_in_use_is_said_and_tried_again() {
    let bench = Bench::new();
    let squatter = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = squatter.local_addr().unwrap().port();
    bench.run(InstanceSpec { port: Some(port), ..sh("exec sleep 1000") });
    let text = bench.failed("a-1").await;
    assert!(text.contains(&format!("port {port} is in use; stop what listens there")), "{text}");
    drop(squatter);
    assert_eq!(bench.ready("a-1").await.port, Some(port));
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_guard_that_cannot_be_started_is_a_failure_too() {
    let bench = Bench::new();
    let settings = evenkeel_supervisor::SupervisorSettings {
        guard_command: vec!["/no/such/guard".into()],
        log_dir: bench.dir.path().into(),
        restart: crate::support::hasty(),
    };
    let rng = evenkeel_domain::rng::seeded(1);
    let supervisor = evenkeel_supervisor::Supervisor::new(settings, rng).unwrap();
    let bench = Bench { supervisor, dir: bench.dir };
    bench.run(sh("exec sleep 1000"));
    assert!(bench.failed("a-1").await.contains("cannot start a guard for a-1"));
}

#[tokio::test]
async fn what_is_not_ready_in_time_is_killed_and_started_anew() {
    let (bench, time) = (Bench::new(), unique());
    let mut spec = sh(&format!("echo loading weights 1/4; exec sleep {time}"));
    spec.startup_deadline = Duration::from_secs(3);
    bench.run(spec);
    let loading = bench.until("a-1", "loading", |status| status.progress.is_some()).await;
    assert_eq!(loading.progress.as_deref(), Some("loading weights 1/4"));
    let status =
        bench.until("a-1", "back", |status| status.incarnation == 2 && status.pid.is_some()).await;
    let why = status.last_exit.unwrap();
    assert!(why.starts_with("was not ready within 3s") && why.contains("raise"), "{why}");
    eventually("one is left", || sleepers(&time) == [status.pid.unwrap()]).await;
    // Found ready, it may stay as long as it likes.
    bench.supervisor.mark_ready("a-1", 2).unwrap();
    bench.until("a-1", "ready", |status| status.phase == Phase::Ready).await;
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_crash_loop_is_told_with_its_last_words() {
    let bench = Bench::new();
    bench.run(sh("echo cuda: out of memory >&2; [ -e \"$OK\" ] || exit 3; exec sleep 1000"));
    let status = bench.until("a-1", "looping", |status| status.crash_loop).await;
    assert!(matches!(status.phase, Phase::CrashLoop { .. }));
    assert!(status.last_exit.unwrap().starts_with("exited with code 3"));
    assert_eq!(status.last_lines, ["cuda: out of memory"]);
    assert_eq!(status.restarts, 5);
    // It is still tried, and a person's restart wipes the slate clean.
    let tried = bench.until("a-1", "tried", |status| status.restarts == 7).await;
    assert!(tried.crash_loop);
    bench.supervisor.restart("a-1", None).unwrap();
    bench.until("a-1", "given a new chance", |status| !status.crash_loop).await;
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}
