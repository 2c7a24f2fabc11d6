//! What every orchestrator must do: run by the local one, and by agents over the network.
//!
//! An implementation is given by a function that makes a fresh one, with nothing running. It
//! must be able to run `sh`, and to restart what has ended within a second.

use super::{InstanceSpec, InstanceStatus, Orchestrator, OrchestratorError, Phase};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Longer than anything takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ends when asked to, and says when it can be.
const SLEEPS: &str = "trap 'exit 0' TERM; while :; do sleep 0.02; done";

type Port = Arc<dyn Orchestrator>;
type Scenario = fn(Port) -> Pin<Box<dyn Future<Output = ()>>>;

/// All scenarios, by name.
pub const SCENARIOS: [(&str, Scenario); 7] = [
    ("what is applied is what runs", |port| Box::pin(what_is_applied_is_what_runs(port))),
    ("one bad spec changes nothing", |port| Box::pin(one_bad_spec_changes_nothing(port))),
    ("what is ready is renewed in turn", |port| Box::pin(what_is_ready_is_renewed_in_turn(port))),
    ("stopped and started", |port| Box::pin(stopped_and_started(port))),
    ("restarts are counted", |port| Box::pin(restarts_are_counted(port))),
    ("a service is scaled", |port| Box::pin(a_service_is_scaled(port))),
    ("readiness is of one start", |port| Box::pin(readiness_is_of_one_start(port))),
];

/// Runs all of them, each on a fresh orchestrator.
pub async fn all<F: Future<Output = Port>>(fresh: impl Fn() -> F) {
    for (_, scenario) in SCENARIOS {
        scenario(fresh().await).await;
    }
}

fn spec(name: &str, index: u32) -> InstanceSpec {
    let mut spec = InstanceSpec::new(name, "a", &["sh", "-c", SLEEPS]);
    spec.env.insert("PORT".into(), "{port}".into());
    (spec.index, spec.stop_grace) = (index, Duration::from_secs(5));
    spec
}

fn changed(name: &str, index: u32) -> InstanceSpec {
    let mut spec = spec(name, index);
    spec.env.insert("OTHER".into(), "1".into());
    spec
}

/// Waits until all statuses are as asked for.
async fn until(port: &Port, what: &str, so: impl Fn(&[InstanceStatus]) -> bool) {
    let mut statuses = port.subscribe();
    if timeout(PATIENCE, statuses.wait_for(|all| so(all))).await.is_err() {
        panic!("never: {what}: {:#?}", port.statuses().await);
    }
}

async fn one(
    port: &Port,
    name: &str,
    what: &str,
    so: impl Fn(&InstanceStatus) -> bool,
) -> InstanceStatus {
    let so = |all: &[InstanceStatus]| all.iter().find(|s| s.name == name && so(s)).cloned();
    until(port, &format!("{name} {what}"), |all| so(all).is_some()).await;
    let all = port.statuses().await.expect("statuses can be had");
    so(&all).unwrap_or_else(|| panic!("{name} was {what} and is not: {all:#?}"))
}

async fn started(port: &Port, name: &str) -> InstanceStatus {
    one(port, name, "started", |s| s.pid.is_some() && s.port.is_some()).await
}

async fn ready(port: &Port, name: &str) -> InstanceStatus {
    let start = started(port, name).await.incarnation;
    port.mark_ready(name, start).await.expect("it is known");
    one(port, name, "ready", |s| s.phase == Phase::Ready).await
}

async fn stopped(port: &Port, name: &str) -> InstanceStatus {
    one(port, name, "stopped", |s| s.phase == Phase::Stopped && s.pid.is_none()).await
}

async fn end(port: Port) {
    port.apply(Vec::new()).await.expect("nothing can be run");
    until(&port, "nothing runs", <[InstanceStatus]>::is_empty).await;
}

async fn what_is_applied_is_what_runs(port: Port) {
    assert_eq!(port.statuses().await, Ok(Vec::new()));
    let first = vec![spec("kept", 0), spec("gone", 1), spec("new", 2)];
    port.apply(first).await.expect("it can be run");
    let mut before = Vec::new();
    for name in ["kept", "gone", "new"] {
        before.push(started(&port, name).await);
    }
    assert!(before.iter().all(|s| s.incarnation == 1 && s.restarts == 0 && s.service == "a"));
    let next = vec![spec("kept", 0), changed("new", 2), spec("more", 3)];
    // Twice is once.
    port.apply(next.clone()).await.expect("it can be run");
    port.apply(next).await.expect("it can be run");
    one(&port, "new", "replaced", |s| s.incarnation == 2 && s.pid.is_some()).await;
    started(&port, "more").await;
    until(&port, "one is gone", |all| all.iter().all(|s| s.name != "gone")).await;
    assert_eq!(started(&port, "kept").await, before[0], "what is the same goes on");
    end(port).await;
}

async fn one_bad_spec_changes_nothing(port: Port) {
    port.apply(vec![spec("a-0", 0)]).await.expect("it can be run");
    let before = started(&port, "a-0").await;
    let twice = vec![changed("a-0", 0), spec("a-1", 1), spec("a-1", 1)];
    let portless = vec![changed("a-0", 0), InstanceSpec::new("a-1", "a", &["serve"])];
    for bad in [twice, portless] {
        let refused = port.apply(bad).await;
        assert!(matches!(&refused, Err(OrchestratorError::Spec { name, .. }) if name == "a-1"));
    }
    assert_eq!(port.statuses().await, Ok(vec![before]));
    end(port).await;
}

async fn what_is_ready_is_renewed_in_turn(port: Port) {
    port.apply(vec![spec("a-0", 0), spec("a-1", 1)]).await.expect("it can be run");
    ready(&port, "a-0").await;
    started(&port, "a-1").await;
    let outdated = port.apply_in_turn(vec![changed("a-0", 0), changed("a-1", 1)]).await;
    assert_eq!(outdated, Ok(vec![("a-0".to_owned(), 1)]));
    one(&port, "a-1", "renewed", |s| s.incarnation == 2).await;
    assert_eq!(ready(&port, "a-0").await.incarnation, 1);
    assert_eq!(port.restart("a-0", None).await, Ok(1));
    one(&port, "a-0", "renewed", |s| s.incarnation == 2 && s.pid.is_some()).await;
    end(port).await;
}

async fn stopped_and_started(port: Port) {
    for unknown in [port.start("a-0").await, port.stop("a-0").await] {
        assert_eq!(unknown, Err(OrchestratorError::Unknown("a-0".into())));
    }
    port.apply(vec![spec("a-0", 0)]).await.expect("it can be run");
    let first = ready(&port, "a-0").await;
    for _ in 0..2 {
        port.stop("a-0").await.expect("it is known");
    }
    assert!(stopped(&port, "a-0").await.last_exit.is_some());
    for _ in 0..2 {
        port.start("a-0").await.expect("it is known");
    }
    let second = started(&port, "a-0").await;
    assert_eq!((second.incarnation, second.restarts), (2, 1));
    assert_eq!(second.port, first.port, "it keeps its port");
    end(port).await;
}

async fn restarts_are_counted(port: Port) {
    let unknown = port.restart("a-0", None).await;
    assert_eq!(unknown, Err(OrchestratorError::Unknown("a-0".into())));
    let mut deaf = spec("a-0", 0);
    deaf.command[2] = "trap '' TERM; while :; do sleep 0.02; done".into();
    deaf.stop_grace = Duration::from_secs(3600);
    port.apply(vec![deaf]).await.expect("it can be run");
    let first = ready(&port, "a-0").await;
    let ends = port.restart("a-0", Some(Duration::from_millis(10))).await;
    assert_eq!(ends, Ok(first.incarnation));
    let second = one(&port, "a-0", "started anew", |s| s.incarnation == 2 && s.pid.is_some()).await;
    assert_ne!(second.pid, first.pid);
    // What ends by itself is started again and counted.
    let mut brief = spec("a-0", 0);
    brief.command[2] = "exit 3".into();
    port.apply(vec![brief]).await.expect("it can be run");
    let ended = one(&port, "a-0", "ended", |s| s.ends > 0 && s.last_code == Some(3)).await;
    assert!(ended.last_exit.is_some_and(|how| how.contains("code 3")));
    end(port).await;
}

async fn a_service_is_scaled(port: Port) {
    let all = (0..3).map(|i| spec(&format!("a-{i}"), i)).collect();
    port.apply(all).await.expect("it can be run");
    for name in ["a-0", "a-1", "a-2"] {
        started(&port, name).await;
    }
    port.scale("a", 1).await.expect("it has three");
    stopped(&port, "a-1").await;
    stopped(&port, "a-2").await;
    port.scale("a", 2).await.expect("it has three");
    started(&port, "a-1").await;
    assert_eq!(started(&port, "a-0").await.incarnation, 1, "it was never touched");
    assert!(matches!(port.scale("a", 4).await, Err(OrchestratorError::Unsupported(_))));
    assert_eq!(port.scale("b", 1).await, Err(OrchestratorError::Unknown("b".into())));
    end(port).await;
}

async fn readiness_is_of_one_start(port: Port) {
    let unknown = port.mark_ready("a-0", 1).await;
    assert_eq!(unknown, Err(OrchestratorError::Unknown("a-0".into())));
    port.apply(vec![spec("a-0", 0)]).await.expect("it can be run");
    ready(&port, "a-0").await;
    assert_eq!(port.restart("a-0", None).await, Ok(1));
    let second = one(&port, "a-0", "started anew", |s| s.incarnation == 2 && s.pid.is_some()).await;
    port.mark_ready("a-0", 1).await.expect("a late word does no harm");
    assert!(matches!(second.phase, Phase::Starting { .. }));
    let before = port.statuses().await.expect("statuses can be had");
    assert!(before.iter().all(|s| s.phase != Phase::Ready), "{before:?}");
    ready(&port, "a-0").await;
    end(port).await;
}
