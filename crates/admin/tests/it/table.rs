//! The status table, letter for letter.

#[allow(dead_code, unreachable_pub, reason = "only its rendering is tested here")]
#[path = "../../../app/src/cmd/status.rs"]
mod status;

use crate::http::start;
use evenkeel_admin::view::Snapshot;

const AT: u64 = 1_800_000_000_000;

/// The fake's snapshot with all that a clock decides held still.
async fn snapshot() -> Snapshot {
    let mut snapshot = start().await.client().snapshot().await.unwrap();
    snapshot.at_unix_ms = AT;
    snapshot.gateway.started_unix_ms = AT - 7_500_000;
    snapshot.overrides[0].until_unix_ms = Some(AT + 1_500_000);
    for check in &mut snapshot.checks {
        check.since_unix_ms = AT - 60_500;
    }
    for service in &mut snapshot.services {
        service.requests_per_second *= 0.123;
        service.errors_per_second = 0.0;
        if !service.replicas.is_empty() && service.name == "chat" {
            service.requests_per_second = 12.3;
        }
        for replica in &mut service.replicas {
            replica.since_unix_ms = AT - 200_000;
            replica.attempts_per_second = if replica.name == "chat-0" { 12.3 } else { 0.0 };
            if let Some(process) = &mut replica.process {
                process.until_unix_ms = process.until_unix_ms.map(|_| AT + 20_000);
            }
        }
    }
    snapshot
}

#[tokio::test]
async fn the_whole_table() {
    let text = status::render(&snapshot().await, None, None);
    assert_eq!(text, include_str!("status.txt"), "\n{text}");
}

#[tokio::test]
async fn a_narrow_table_keeps_what_matters() {
    let snapshot = snapshot().await;
    let text = status::render(&snapshot, None, Some(60));
    assert_eq!(text, include_str!("status-narrow.txt"), "\n{text}");
    for width in [1, 10, 20, 40, 79, 100, 131, 500] {
        let text = status::render(&snapshot, None, Some(width));
        assert!(text.contains("chat"), "{width}: {text}");
        let widest = text.lines().take_while(|l| !l.contains("ordered")).map(|l| l.chars().count());
        assert!(width < 40 || widest.max() <= Some(width), "{width}:\n{text}");
    }
}

#[tokio::test]
async fn rates_come_from_two_snapshots() {
    let before = snapshot().await;
    let mut now = before.clone();
    now.at_unix_ms += 2_000;
    if let Some(ok) = now.services[0].requests.get_mut("ok") {
        *ok += 50;
    }
    let text = status::render(&now, Some(&before), None);
    let row = text.lines().find(|line| line.starts_with("chat ")).unwrap();
    assert!(row.contains(" 25 "), "{row}");
    // A process begun anew counts anew.
    now.gateway.started_unix_ms += 1;
    let text = status::render(&now, Some(&before), None);
    assert!(text.lines().any(|line| line.starts_with("chat ") && line.contains(" 12 ")));
}
