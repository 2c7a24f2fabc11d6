//! Files and batches through the real binary: what was accepted is answered, whoever dies.

use crate::support::{
    Answer, Up, Wire, alive, ask, chat, evenkeel, get, post, raw, supervised, until, until_so,
    until_within,
};
use evenkeel_testkit::process::{kill9, signal};
use evenkeel_testkit::{TempDir, tempdir};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whoever is killed is followed within a second, and what is refused comes again soon.
pub(crate) const BATCH: &str = "[batch]\nlease = \"1s\"\nbackoff_max = \"500ms\"\n";
/// A batch's end with deaths in between, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(40);

async fn start(copies: u32, pace: &str) -> Up {
    let up = Up::start(&format!("{BATCH}{}", supervised(copies, &["--pace", pace]))).await;
    up.ready().await
}

/// Request lines `NAME-0` and on.
pub(crate) fn lines(name: &str, count: usize, tokens: u32) -> String {
    let line = |n| {
        let messages = [json!({ "role": "user", "content": format!("{name} says {n}") })];
        json!({
            "custom_id": format!("{name}-{n}"), "method": "POST", "url": "/v1/chat/completions",
            "body": { "model": "test", "messages": messages, "max_tokens": tokens },
        })
    };
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}

/// An upload as bytes; `headers` are lines, each ended.
pub(crate) fn upload(content: &str, headers: &str) -> String {
    let form = format!(
        "--XyZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--XyZ\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{content}\r\n\
         --XyZ--\r\n"
    );
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: test\r\ncontent-type: multipart/form-data; \
         boundary=XyZ\r\ncontent-length: {}\r\n{headers}\r\n{form}",
        form.len()
    )
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("it has an id").to_owned()
}

/// The id of a batch of these lines.
async fn order(up: &Up, lines: &str) -> String {
    let file = id(&raw(&up.clients, upload(lines, "")).await.expect("an answer"));
    let order = json!({
        "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h",
    });
    let order = post("/v1/batches", "", &order.to_string());
    id(&raw(&up.clients, order).await.expect("an answer"))
}

/// The batch once it is as wanted. That nobody answers for a moment is no matter.
async fn batch(up: &Up, id: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/batches/{id}");
    until_within(PATIENCE, what, || async {
        let answer = Wire::get(&up.clients, &path).await.ok().filter(|a| a.status == 200)?;
        Some(answer.json()).filter(|batch| so(batch))
    })
    .await
}

fn answered(batch: &Value) -> u64 {
    batch["request_counts"]["completed"].as_u64().expect("it is counted")
}

async fn read(up: &Up, file: &Value) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", file.as_str().expect("there is a file"));
    let answer = get(&up.clients, &path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    text.lines().map(|line| serde_json::from_str(line).expect("lines of JSON")).collect()
}

/// Every line once, answered with text.
async fn completed(up: &Up, id: &str, name: &str, count: usize) {
    let seen = batch(up, id, "the batch ends", |b| b["status"] == "completed").await;
    assert_eq!((answered(&seen), &seen["error_file_id"]), (count as u64, &Value::Null), "{seen}");
    let output = read(up, &seen["output_file_id"]).await;
    assert_eq!(output.len(), count, "each line once");
    let got: BTreeSet<_> = output.iter().filter_map(|l| l["custom_id"].as_str()).collect();
    let asked: Vec<String> = (0..count).map(|n| format!("{name}-{n}")).collect();
    assert_eq!(got, asked.iter().map(String::as_str).collect());
    for line in &output {
        let body = &line["response"]["body"];
        assert!(body["choices"][0]["message"]["content"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_and_shows() {
    let up = start(2, "2").await;
    let batch = order(&up, &lines("a", 40, 4)).await;
    completed(&up, &batch, "a", 40).await;
    until("status tells of it", || async {
        let ran = up.cli(&["status"]).await;
        (ran.out.contains("batches  1 completed") && ran.out.contains("lines 40 answered"))
            .then_some(())
    })
    .await;
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_batches{status=\"completed\"} 1",
        "evenkeel_batch_lines_total{result=\"answered\"} 40",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("evenkeel-batch"), "it is no model service");
    let models = get(&up.clients, "/v1/models").await.text();
    assert!(!models.contains("evenkeel-batch"), "{models}");
}

#[tokio::test]
async fn a_batch_outlives_the_gateway_and_every_replica() {
    let up = start(2, "20").await;
    let id = order(&up, &lines("k", 200, 8)).await;
    for enough in [10, 60, 110] {
        batch(&up, &id, "lines are answered", |b| answered(b) >= enough).await;
        let (gateway, replicas) = (up.gateway_pid().await, up.pids().await);
        kill9(gateway);
        replicas.into_iter().for_each(kill9);
        until_so("the gateway is dead", || !alive(gateway)).await;
    }
    completed(&up, &id, "k", 200).await;
}

#[tokio::test]
async fn a_batch_outlives_the_keeper() {
    let config = format!("{BATCH}{}", supervised(2, &["--pace", "20"]));
    let up = Up::start(&config).await.ready().await;
    let id = order(&up, &lines("u", 100, 8)).await;
    batch(&up, &id, "lines are answered", |b| answered(b) >= 10).await;
    let gateway = up.gateway_pid().await;
    up.process.kill9();
    until_so("everything is gone", || !alive(gateway)).await;
    let dir: TempDir = up.dir;
    let up = Up::within(dir, "", &config).await;
    completed(&up, &id, "u", 100).await;
}

#[tokio::test]
async fn an_upgrade_takes_the_work_over_at_once() {
    // With the lease of a process that has died it would take a minute.
    let config = format!("[batch]\nlease = \"1m\"\n{}", supervised(2, &["--pace", "5"]));
    let up = Up::start(&config).await.ready().await;
    let id = order(&up, &lines("g", 300, 8)).await;
    batch(&up, &id, "lines are answered", |b| answered(b) >= 10).await;
    let before = up.gateway_pid().await;
    signal(up.process.id(), Signal::USR2);
    until_so("the old gateway ends", || !alive(before)).await;
    assert_ne!(batch(&up, &id, "it is there", |_| true).await["status"], "completed");
    completed(&up, &id, "g", 300).await;
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_is_answered() {
    let up = start(2, "20").await;
    let id = order(&up, &lines("c", 500, 8)).await;
    batch(&up, &id, "lines are answered", |b| answered(b) >= 5).await;
    let cancel = post(&format!("/v1/batches/{id}/cancel"), "", "");
    let answer = raw(&up.clients, cancel).await.expect("an answer");
    assert_eq!(answer.json()["status"], "cancelling", "{}", answer.text());
    let seen = batch(&up, &id, "it is cancelled", |b| b["status"] == "cancelled").await;
    let good = read(&up, &seen["output_file_id"]).await;
    let rest = read(&up, &seen["error_file_id"]).await;
    assert_eq!((good.len() as u64, good.len() + rest.len()), (answered(&seen), 500));
    assert!(rest.iter().all(|line| line["error"]["code"] == "batch_cancelled"));
}

#[tokio::test]
async fn nobody_names_an_owner_but_the_gateway() {
    let up = start(1, "0").await;
    let mine = id(&raw(&up.clients, upload("{}\n", "")).await.expect("an answer"));
    let other = upload("{}\n", "x-evenkeel-key-id: other\r\nX-Evenkeel-Key-Id: third\r\n");
    let claimed = id(&raw(&up.clients, other).await.expect("an answer"));
    let list = get(&up.clients, "/v1/files").await.json();
    let ids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|f| &f["id"]).collect();
    assert_eq!(ids, [&json!(claimed), &json!(mine)]);
}

#[tokio::test]
async fn without_the_table_there_are_no_files() {
    let up = Up::start(&supervised(1, &[])).await.ready().await;
    let answer = raw(&up.clients, upload("{}\n", "")).await.expect("an answer");
    assert_ne!(answer.status, 200, "{}", answer.text());
    assert!(!up.dir.path().join("state/store/evenkeel.db").exists());
    assert!(up.snapshot().await["batch"].is_null());
    // Turned on, it is there with the next gateway.
    up.rewrite(&format!("{BATCH}{}", supervised(1, &[])));
    until("files are taken", || async {
        let answer = raw(&up.clients, upload("{}\n", "")).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn people_come_before_lines() {
    // One place in each of two replicas, and lines for sixteen.
    let services = supervised(2, &["--pace", "10"]) + "max_in_flight = 1\n";
    let up = Up::start(&format!("{BATCH}{services}")).await.ready().await;
    let id = order(&up, &lines("p", 60, 8)).await;
    batch(&up, &id, "lines are answered", |b| answered(b) >= 2).await;
    for _ in 0..10 {
        let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let snapshot = up.snapshot().await;
    assert_eq!(snapshot["services"][0]["refused"], 0, "lines are not counted among people");
    completed(&up, &id, "p", 60).await;
}

/// One line on standard error, and the exit code of a wrong configuration.
async fn refused(command: &[&str], reason: &str) {
    let ran = evenkeel(command).await;
    let said: Vec<&str> = ran.err.lines().filter(|l| !l.contains(" WARN ")).collect();
    assert_eq!((ran.code, said.len()), (2, 1), "{ran:?}");
    assert!(said[0].contains(reason), "{reason}: {ran:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_says_why() {
    let dir = tempdir();
    let at = dir.path().display();
    let file = format!("{at}/e.toml");
    let key = |name: &str, digit: &str| {
        std::fs::write(dir.path().join(name), digit.repeat(64)).expect("a key is written");
        format!("key_file = \"{at}/{name}\"\n")
    };
    let (right, wrong) = (key("right", "1"), key("wrong", "2"));
    let config = |batch: &str| {
        let text = format!(
            "state_dir = \"{at}/state\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \
             \"127.0.0.1:0\"\n[batch]\n{batch}{}",
            supervised(1, &[])
        );
        std::fs::write(&file, text).expect("the file is written");
    };
    config(&right);
    let ran = evenkeel(&["check", &file]).await;
    assert!(ran.code == 0 && !dir.path().join("state").exists(), "{ran:?}");
    let mut up = std::process::Command::new(crate::support::EVENKEEL);
    let mut up = evenkeel_testkit::Process::start("up", up.args(["up", "-c", &file]), dir.path());
    up.wait_for_line("gateway_pid", crate::support::SOON).await.expect("it serves");
    up.kill9();
    for (batch, reason) in [
        (wrong.as_str(), "is sealed with another key"),
        ("", "is sealed; set `key_file`"),
        ("key_env = \"EVENKEEL_NO_SUCH_KEY\"\n", "EVENKEEL_NO_SUCH_KEY"),
        ("path = \"/proc/none/store.db\"\n", "check path and rights"),
    ] {
        config(batch);
        refused(&["up", "-c", &file], reason).await;
        if !batch.starts_with("path") {
            refused(&["check", &file], reason).await;
        }
    }
}
