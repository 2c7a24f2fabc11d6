//! Killed at any moment, again and again: what was accepted is all there, and each line is
//! answered exactly once.

use crate::support::{Client, PATIENCE, Server, example, lines};
use evenkeel_domain::clock::now;
use evenkeel_testkit::tempdir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the server is killed.
const KILLS: usize = 52;
/// Lines of a batch.
const LINES: usize = 40;
/// A line's time at the replica, in milliseconds.
const TAKES: &str = "3";
/// Batches under way beyond which no further one is ordered.
const OPEN: usize = 3;

/// What a client was told with a 200.
#[derive(Default)]
struct Accepted {
    /// Files with their content.
    files: BTreeMap<String, String>,
    /// Batches with the file they are of.
    batches: BTreeMap<String, String>,
}

/// Uploads and orders until the server goes away.
async fn client(client: Client, accepted: Arc<Mutex<Accepted>>, round: usize) {
    for n in 0.. {
        let content = lines(&format!("round{round}-{n}"), LINES);
        let Ok(file) = client.upload(content.as_bytes()).await else { return };
        accepted.lock().unwrap().files.insert(file.clone(), content);
        while open(&client).await.is_some_and(|open| open >= OPEN) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Ok(batch) = client.order(&file).await else { return };
        accepted.lock().unwrap().batches.insert(batch, file);
    }
}

/// Batches that have not ended; `None` when the server is gone.
async fn open(client: &Client) -> Option<usize> {
    let (_, body) = client.get("/v1/batches?limit=100").await.ok()?;
    let list: Value = serde_json::from_slice(&body).ok()?;
    let over = ["completed", "failed", "expired", "cancelled"];
    let all = list["data"].as_array()?.iter();
    Some(all.filter(|batch| !over.iter().any(|over| batch["status"] == *over)).count())
}

fn serve(dir: &Path) -> Command {
    let mut command = Command::new(example());
    command.arg(dir).arg(TAKES);
    command
}

#[tokio::test]
async fn what_was_accepted_survives_being_killed() {
    let dir = tempdir();
    let seed = std::env::var("EVENKEEL_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(20_261_121);
    println!("EVENKEEL_TEST_SEED={seed}");
    let mut rng = evenkeel_domain::rng::seeded(seed);
    let accepted = Arc::new(Mutex::new(Accepted::default()));
    for round in 0..KILLS {
        let server = Server::start(&mut serve(dir.path()), dir.path()).await;
        let busy = tokio::spawn(client(server.client(), accepted.clone(), round));
        // Not a wait for anything: the moment is the point. Some deaths come while the
        // lease of the last one still holds, some in the middle of all.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..500))).await;
        server.process.kill9();
        drop(server);
        busy.await.unwrap();
    }
    let server = Server::start(&mut serve(dir.path()), dir.path()).await;
    let client = server.client();
    let deadline = now() + PATIENCE;
    while open(&client).await != Some(0) {
        assert!(now() < deadline, "{}", server.process.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let accepted = std::mem::take(&mut *accepted.lock().unwrap());
    check(&client, &accepted).await;
    let log = std::fs::read_to_string(dir.path().join("executed.log")).unwrap();
    println!("{} executions of {} lines", log.lines().count(), accepted.batches.len() * LINES);
}

async fn check(client: &Client, accepted: &Accepted) {
    assert!(accepted.batches.len() > 5, "the kills left time for work");
    for (id, content) in &accepted.files {
        let (status, body) = client.get(&format!("/v1/files/{id}/content")).await.unwrap();
        assert_eq!(status, 200, "an accepted file is gone");
        assert!(*body == *content.as_bytes(), "{id} is what was sent");
    }
    for (id, file) in &accepted.batches {
        let batch = client.json(&format!("/v1/batches/{id}")).await;
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(batch["request_counts"]["completed"], LINES, "{batch}");
        assert_eq!(batch["error_file_id"], Value::Null);
        let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
        let (_, output) = client.get(&path).await.unwrap();
        let asked: Vec<Value> = parse(accepted.files[file].as_bytes());
        let answers: Vec<Value> = parse(&output);
        assert_eq!(answers.len(), asked.len(), "{id}: each line once");
        for (asked, answer) in asked.iter().zip(&answers) {
            assert_eq!(answer["custom_id"], asked["custom_id"]);
            assert_eq!(answer["response"]["body"], asked["body"]);
        }
    }
}

fn parse(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}
