//! Batches and the keys they are ordered with.

use super::{bearer, entry, shown, start};
use crate::batch::{BATCH, lines, upload};
use crate::support::{Model, post, raw, service, until, until_within};
use evenkeel_domain::clock::now;
use serde_json::{Value, json};
use std::time::Duration;

/// Sends a request with a key and gives its status and answer.
async fn with(up: &crate::support::Up, request: String) -> (u16, Value) {
    let answer = raw(&up.clients, request).await.expect("an answer");
    (answer.status, answer.json())
}

async fn order(up: &crate::support::Up, id: &str, lines: &str) -> String {
    let (_, file) = with(up, upload(lines, &bearer(id))).await;
    let order = json!({
        "input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
    });
    let (status, batch) = with(up, post("/v1/batches", &bearer(id), &order.to_string())).await;
    assert_eq!(status, 200, "{batch}");
    batch["id"].as_str().expect("it has an id").to_owned()
}

fn look(path: &str, id: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: t\r\n{}\r\n", bearer(id))
}

#[tokio::test]
async fn batches_belong_to_a_tenant_and_count_for_it() {
    let model = Model::start(&[]).await;
    let keys = entry("a", "tenant = \"t\"\nlimits = { tokens_per_minute = 200 }")
        + &entry("b", "tenant = \"t\"")
        + &entry("c", "services = []");
    let services = format!("{BATCH}[[tenant]]\nname = \"t\"\n{}", service("", &[model.url()]));
    let up = start(&keys, &services).await;
    let id = order(&up, "a", &lines("x", 30, 10)).await;
    let path = format!("/v1/batches/{id}");
    let done = until_within(Duration::from_secs(30), "the batch ends", || async {
        let (_, batch) = with(&up, look(&path, "b")).await;
        (batch["status"] == "completed").then_some(batch)
    })
    .await;
    assert_eq!(done["request_counts"]["completed"], 30, "{done}: it waits for no limit");
    assert_eq!(with(&up, look(&path, "c")).await.0, 404, "another's");
    let tenant = up.snapshot().await["tenants"][0].clone();
    assert_eq!(tenant["usage"]["completion_tokens"], 300, "{tenant}");
    assert_eq!(shown(&up, "a").await["limits"]["tokens_remaining"], 200);
    // A batch may no more than its key.
    let id = order(&up, "c", &lines("y", 1, 1)).await;
    let path = format!("/v1/batches/{id}");
    let done = until("the batch ends", || async {
        let (_, batch) = with(&up, look(&path, "c")).await;
        (batch["status"] == "completed").then_some(batch)
    })
    .await;
    assert_eq!(done["request_counts"]["failed"], 1, "{done}");
}

#[tokio::test]
async fn batches_leave_the_last_places_to_people() {
    let model = Model::start(&["--slots", "16", "--first-token", "60", "--pace", "5"]).await;
    let replica = format!("[[service.replica]]\nurl = \"{}\"\nmax_in_flight = 4\n", model.url());
    let services = format!(
        "{BATCH}[[service]]\nname = \"chat\"\nmodels = [\"*\"]\nconcurrency = {{ adaptive = false }}\n{replica}"
    );
    let up = start(&entry("a", ""), &services).await;
    let id = order(&up, "a", &lines("x", 60, 10)).await;
    let path = format!("/v1/batches/{id}");
    let mut most = 0;
    let deadline = now() + Duration::from_secs(40);
    while with(&up, look(&path, "a")).await.1["status"] != "completed" {
        assert!(now() < deadline, "the batch does not end");
        let replica = up.replicas().await.into_iter().next().expect("there is one");
        most = most.max(replica["in_flight"].as_u64().unwrap_or(0));
    }
    assert_eq!(most, 3, "all but the last place, and not it");
}
