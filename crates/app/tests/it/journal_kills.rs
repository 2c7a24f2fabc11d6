//! The gateway is killed at every write to the journal in turn, by the kernel, in the middle
//! of the system call: the incident ends as if nothing had happened, and nothing is done
//! twice.

use crate::support::{SOON, Up, Wire, alive, evenkeel, supervised, until_within};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Process, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long a whole incident may take, with several beside it.
const WHOLE: Duration = Duration::from_secs(60);
/// Runs beside each other.
const AT_ONCE: usize = 5;
/// What makes sure that a file is written.
const SYNC: &str = "fsync";
/// What writes to a file, or makes sure of it.
const WRITES: [&str; 2] = ["pwrite64", SYNC];

const QUICK: &str = "[recovery]\nprobation = \"300ms\"\npatience = \"1s\"\nbackoff = \"100ms\"\n";

/// Evenkeel with a playbook that leaves the key of its first step in a file.
struct Stage {
    up: Up,
    keys: PathBuf,
    gateway: u32,
    hung: u32,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempdir();
        let keys = dir.path().join("keys");
        let book = format!(
            "[[playbook]]\nservice = \"chat\"\n[[playbook.step]]\naction = \"script\"\ncommand = \
             [\"sh\", \"-c\", \"echo $EVENKEEL_ACTION_KEY >> {}\"]\nverify = \"none\"\n\
             [[playbook.step]]\naction = \"restart\"\n",
            keys.display()
        );
        let services = supervised(2, &[]) + QUICK + &book;
        let up = Up::within(dir, "", &services).await.ready().await;
        let gateway = up.gateway_pid().await;
        let hung = up.replica("chat-0", |r| r["process"]["pid"].is_u64()).await;
        let hung =
            hung["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        Self { up, keys, gateway, hung }
    }

    /// Has the system calls that write to the journal traced, with more arguments.
    async fn traced(&self, more: &[String]) -> Process {
        let journal = self.up.dir.path().join("state/store/journal.db");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &self.gateway.to_string(), "-e"]);
        strace.arg(format!("trace={}", WRITES.join(",")));
        strace.arg("-P").arg(journal.with_extension("db-wal")).arg("-P").arg(&journal);
        strace.args(more);
        let mut strace = Process::start("strace", &mut strace, self.up.dir.path());
        strace.wait_for_line("attached", SOON).await.expect("strace may look");
        strace
    }

    /// The incident of the replica that hangs, once it is over.
    async fn over(&self) -> Value {
        signal(self.hung, Signal::STOP);
        until_within(WHOLE, "the incident is resolved", || async {
            // One connection may break: the gateway is killed.
            let answer = Wire::get(&self.up.admin, "/api/v1/incidents").await.ok()?;
            let all = (answer.status == 200).then(|| answer.json())?;
            let mut of = all.as_array()?.iter().filter(|one| one["replica"] == "chat-0");
            of.find(|one| one["phase"] == "resolved").cloned()
        })
        .await
    }

    /// The kinds of an incident's rows in their order, with the epochs that wrote them.
    async fn rows(&self, incident: &Value) -> Vec<(String, u64)> {
        let path =
            format!("/api/v1/incidents/{}", incident["id"].as_str().expect("it has a number"));
        let detail = Wire::get(&self.up.admin, &path).await.expect("it answers").json();
        let rows = detail["rows"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .map(|row| {
                (
                    row["kind"].as_str().unwrap_or_default().to_owned(),
                    row["epoch"].as_u64().unwrap_or_default(),
                )
            })
            .collect()
    }

    fn keys(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.keys).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What is the same however often it was interrupted.
#[derive(Debug, PartialEq)]
struct End {
    phase: Value,
    cause: Value,
    replica: Value,
    /// Kinds of rows; each once, what was begun again included.
    kinds: Vec<String>,
    /// Starts of the replica's process after the first.
    restarts: Value,
    healthy: Value,
}

async fn end(stage: &Stage, incident: &Value) -> End {
    let mut kinds: Vec<String> =
        stage.rows(incident).await.into_iter().map(|(kind, _)| kind).collect();
    kinds.dedup();
    let replica = stage.up.replica("chat-0", |r| r["health"] == "healthy").await;
    End {
        phase: incident["phase"].clone(),
        cause: incident["cause"].clone(),
        replica: incident["replica"].clone(),
        kinds,
        restarts: replica["process"]["restarts"].clone(),
        healthy: replica["health"].clone(),
    }
}

/// How the incident ends when nobody disturbs it, and the [`WRITES`] that are called for it,
/// in their order.
async fn undisturbed() -> (End, Vec<&'static str>) {
    let stage = Stage::new().await;
    let mut strace = stage.traced(&[]).await;
    let incident = stage.over().await;
    let end = end(&stage, &incident).await;
    assert_eq!(stage.keys().len(), 1);
    strace.terminate();
    strace.wait(SOON).await.expect("strace ends");
    let said = strace.output();
    let called = |line: &str| WRITES.into_iter().find(|name| line.contains(&format!("{name}(")));
    (end, said.lines().filter_map(called).collect())
}

async fn killed(write: &str, nth: usize, expected: &End) {
    let stage = Stage::new().await;
    let inject = ["-e".into(), format!("inject={write}:signal=KILL:when={nth}")];
    let mut strace = stage.traced(&inject).await;
    let incident = stage.over().await;
    strace.wait(SOON).await.expect("its process is gone");
    let of = format!("killed at {write} {nth}");
    assert_ne!(stage.up.gateway_pid().await, stage.gateway, "{of}: it was not killed");
    assert!(!alive(stage.hung), "{of}");
    let end = end(&stage, &incident).await;
    assert_eq!(&end, expected, "{of}: {:?}", stage.rows(&incident).await);
    let keys = stage.keys();
    // A script shows nothing of itself: it is run at least once, under one key.
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == keys[0]), "{of}: {keys:?}");
    assert!(keys.len() <= 2, "{of}: {keys:?}");
    audit(&stage.up.file(), &of).await;
}

async fn audit(config: &Path, of: &str) {
    let ran = evenkeel(&["audit", "verify", "-c", &config.display().to_string()]).await;
    assert!(ran.code == 0, "{of}: {ran:?}");
}

/// A moment to be killed at: the how-manieth call of which name.
type Moment = (&'static str, usize);

/// All calls, each with its number among those of its name.
fn moments(calls: &[&'static str]) -> Vec<Moment> {
    let mut counted = HashMap::new();
    let mut number = |name| {
        let n: &mut usize = counted.entry(name).or_default();
        *n += 1;
        (name, *n)
    };
    calls.iter().map(|name| number(*name)).collect()
}

/// Of each row: the first call that writes of it, the last, and the one that makes sure. To
/// SQLite those in between are all the same.
fn edges(all: &[Moment]) -> Vec<Moment> {
    let is_sync = |at: Option<usize>| at.and_then(|at| all.get(at)).is_none_or(|m| m.0 == SYNC);
    (0..all.len())
        .filter(|at| is_sync(Some(*at)) || is_sync(at.checked_sub(1)) || is_sync(Some(at + 1)))
        .map(|at| all[at])
        .collect()
}

async fn killed_at(which: fn(&[Moment]) -> Vec<Moment>) {
    let (expected, calls) = undisturbed().await;
    assert_eq!(expected.restarts, 1, "{expected:?}");
    let all = moments(&calls);
    let rows = all.iter().filter(|moment| moment.0 == SYNC).count();
    assert!(rows >= expected.kinds.len(), "each row is made sure of: {all:?}");
    let chosen = which(&all);
    assert!(chosen.len() >= 3 * rows, "{chosen:?}");
    println!("{} of {} moments; {expected:?}", chosen.len(), all.len());
    let (expected, places) = (Arc::new(expected), Arc::new(Semaphore::new(AT_ONCE)));
    let mut runs = JoinSet::new();
    for (write, nth) in chosen {
        let (expected, places) = (expected.clone(), places.clone());
        runs.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            killed(write, nth, &expected).await;
        });
    }
    while let Some(run) = runs.join_next().await {
        run.expect("a run ends as it should");
    }
}

#[tokio::test]
async fn a_gateway_killed_at_each_row_of_the_journal_comes_to_the_same_end() {
    killed_at(edges).await;
}

#[tokio::test]
#[ignore = "minutes: every system call, most of which are the same to SQLite"]
async fn a_gateway_killed_at_every_write_comes_to_the_same_end() {
    killed_at(<[Moment]>::to_vec).await;
}
