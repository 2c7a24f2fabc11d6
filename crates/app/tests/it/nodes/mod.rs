//! Replicas and jobs on other hosts: keeper and agents as processes, on loopback.

mod beats;
mod care;
mod jobs;

use crate::support::{
    EVENKEEL, SOON, Up, Wire, alive, ask, chat, evenkeel, get, supervised, until, until_so,
    until_within,
};
use evenkeel_testkit::process::kill9;
use evenkeel_testkit::{Process, ports::free_port, tempdir};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long starts and ends may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(60);

/// A node that was made known, with its agent.
struct Node {
    name: String,
    port: u16,
    agent: Process,
}

impl Node {
    /// Makes a bundle and starts the agent with it.
    async fn new(dir: &Path, name: &str) -> Self {
        let config = dir.join("evenkeel.toml");
        if !config.exists() {
            let text = format!("state_dir = \"{}/state\"\n", dir.display());
            std::fs::write(&config, text).expect("a configuration can be written");
        }
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let (config, bundle) = (config.display().to_string(), bundle(dir, name));
        let args = ["node", "new", name, "--address", &address, "-c", &config, "-o", &bundle];
        let ran = evenkeel(&args).await;
        assert!(ran.code == 0 && ran.out.contains("[[node]]"), "{ran:?}");
        Self { name: name.into(), port, agent: agent(dir, name, port).await }
    }

    fn config(&self) -> String {
        self.config_at(self.port)
    }

    fn config_at(&self, port: u16) -> String {
        let name = &self.name;
        format!("[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n")
    }
}

fn bundle(dir: &Path, name: &str) -> String {
    dir.join(format!("{name}.bundle")).display().to_string()
}

async fn agent(dir: &Path, name: &str, port: u16) -> Process {
    let mut command = Command::new(EVENKEEL);
    command.args(["agent", &bundle(dir, name), "--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--state-dir").arg(dir.join(name)).env_remove("EVENKEEL_LOG");
    let mut agent = Process::start(&format!("agent-{name}"), &mut command, dir);
    agent.wait_for_line("agent listens", SOON).await.expect("it listens");
    agent
}

/// A service of built-in models on a node.
fn on(node: &str, copies: u32, options: &[&str]) -> String {
    supervised(copies, options) + &format!("node = \"{node}\"\n")
}

/// Once so many replicas take traffic and no others are there: their processes, by name.
async fn serving(up: &Up, copies: usize) -> Vec<u32> {
    until_within(WHOLE, &format!("{copies} replicas serve"), || async {
        let all = up.replicas().await;
        let open = all.iter().filter(|r| r["gate"] == "open" && r["process"]["phase"] == "ready");
        let pids: Vec<u32> =
            open.filter_map(|r| u32::try_from(r["process"]["pid"].as_u64()?).ok()).collect();
        (pids.len() == copies && all.len() == copies).then_some(pids)
    })
    .await
}

async fn node(up: &Up, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    until(&format!("node {name} is {what}"), || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?.json();
        let nodes = answer["nodes"].as_array()?.clone();
        nodes.into_iter().find(|node| node["name"] == name).filter(|node| so(node))
    })
    .await
}

async fn asked(up: &Up) -> u16 {
    ask(&up.clients, "", &chat("hello", 4, false)).await.status
}

#[tokio::test]
async fn a_replica_far_away_is_as_one_here() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let services = |copies| on("gpu-1", copies, &[]) + &gpu.config();
    let up = Up::within(dir, "", &services(2)).await;
    let before = serving(&up, 2).await;
    assert_eq!(asked(&up).await, 200);
    let here = up.replicas().await;
    assert!(here.iter().all(|r| r["process"]["node"] == "gpu-1"), "{here:?}");
    // Killed: its agent starts it again.
    kill9(before[0]);
    up.replica("chat-0", |r| r["process"]["restarts"] == 1).await;
    let second = serving(&up, 2).await;
    assert_eq!(second[1], before[1], "the other one was not touched");
    // Restarted by hand, drained first.
    assert_eq!(up.cli(&["replica", "restart", "chat-1"]).await.code, 0);
    up.replica("chat-1", |r| r["process"]["restarts"] == 1 && r["gate"] == "open").await;
    until_so("the old one is gone", || !alive(before[1])).await;
    // Its log is there, and can be followed.
    let ran = up.cli(&["logs", "chat-1", "-n", "50"]).await;
    assert!(ran.code == 0 && ran.out.contains("incarnation 2"), "{ran:?}");
    let ran = up.cli(&["logs", "chat-1", "-n", "1"]).await;
    assert_eq!(ran.out.lines().count(), 1, "{ran:?}");
    for (args, says) in [
        (&["status"][..], "● up node gpu-1 at 127.0.0.1:"),
        (&["why", "chat-1"], "chat-1 on gpu-1"),
    ] {
        let ran = up.cli(args).await;
        assert!(ran.code == 0 && ran.out.contains(says), "{ran:?}");
    }
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in ["evenkeel_node_up{node=\"gpu-1\"} 1", "evenkeel_node_connected{node=\"gpu-1\"} 1"]
    {
        assert!(metrics.contains(line), "{line}");
    }
    // More copies, then fewer, one of which finishes first.
    up.rewrite(&services(3));
    serving(&up, 3).await;
    up.rewrite(&services(1));
    let last = serving(&up, 1).await;
    // A changed command is taken up in turn.
    up.rewrite(&(on("gpu-1", 1, &["--pace", "1"]) + &gpu.config()));
    up.replica("chat-0", |r| r["process"]["pid"] != last[0] && r["gate"] == "open").await;
    // It moves here, and back.
    up.rewrite(&(supervised(1, &[]) + &gpu.config()));
    up.replica("chat-0", |r| r["process"]["node"].is_null() && r["gate"] == "open").await;
    up.rewrite(&services(1));
    up.replica("chat-0", |r| r["process"]["node"] == "gpu-1" && r["gate"] == "open").await;
    let pids = serving(&up, 1).await;
    assert_eq!(asked(&up).await, 200);
    // An orderly stop ends what runs there, too.
    up.process.terminate();
    until_so("it has ended", || !pids.iter().any(|pid| alive(*pid))).await;
}

#[tokio::test]
async fn an_agent_that_dies_takes_its_replicas_with_it_and_starts_them_again() {
    let dir = tempdir();
    let mut gpu = Node::new(dir.path(), "gpu-1").await;
    let up = Up::within(dir, "", &(on("gpu-1", 2, &[]) + &gpu.config())).await;
    let before = serving(&up, 2).await;
    gpu.agent.kill9();
    until_so("they die with it", || !before.iter().any(|pid| alive(*pid))).await;
    node(&up, "gpu-1", "gone", |node| {
        node["connected"] == false && node["why"].as_str().is_some_and(|w| w.contains("nobody"))
    })
    .await;
    node(&up, "gpu-1", "silent", |node| node["state"] == "silent").await;
    gpu.agent = agent(up.dir.path(), "gpu-1", gpu.port).await;
    let after = serving(&up, 2).await;
    assert!(after.iter().all(|pid| !before.contains(pid)));
    let replica = up.replica("chat-0", |_| true).await;
    assert_eq!(replica["process"]["restarts"], 1, "starts are counted on: {replica}");
    assert_eq!(asked(&up).await, 200);
    let metrics = get(&up.admin, "/metrics").await.text();
    assert!(!metrics.contains("action=\"restart\""), "nothing was ordered where nothing arrives");
}

#[tokio::test]
async fn a_keeper_that_is_killed_finds_its_replicas_untouched() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let up = Up::within(dir, "", &(on("gpu-1", 2, &[]) + &gpu.config())).await;
    let before = serving(&up, 2).await;
    up.process.kill9();
    let Up { process, dir, .. } = up;
    drop(process);
    assert!(before.iter().all(|pid| alive(*pid)));
    let up = Up::from(dir, "").await;
    assert_eq!(serving(&up, 2).await, before, "taken over as they were");
    let replica = up.replica("chat-0", |_| true).await;
    assert_eq!(replica["process"]["restarts"], 0);
    assert_eq!(asked(&up).await, 200);
    // A copy of its state elsewhere is an earlier one: what it has read before is no right.
    let copy = tempdir();
    let state = copy.path().join("state/nodes");
    std::fs::create_dir_all(&state).expect("a directory");
    let here = up.dir.path().join("state/nodes");
    std::fs::copy(here.join("authority.json"), state.join("authority.json")).expect("a copy");
    let old = Up::within(copy, "", &(on("gpu-1", 1, &[]) + &gpu.config())).await;
    let refused = node(&old, "gpu-1", "refused", |node| node["why"].is_string()).await;
    assert_eq!(refused["connected"], false);
    assert!(refused["why"].as_str().is_some_and(|why| why.contains("epoch")), "{refused}");
    assert_eq!(serving(&up, 2).await, before, "and nothing was touched");
}

#[tokio::test]
async fn a_wrong_node_is_an_error_of_the_configuration() {
    let dir = tempdir();
    let config = dir.path().join("evenkeel.toml");
    let head = format!("state_dir = \"{}/state\"\n", dir.path().display());
    let file = config.display().to_string();
    std::fs::write(&config, &head).expect("it can be written");
    let missing = head.clone() + &on("gpu-1", 1, &[]);
    let unmade = head.clone()
        + &on("gpu-1", 1, &[])
        + "[[node]]\nname = \"gpu-1\"\naddress = \"127.0.0.1:1\"\n";
    for (text, says) in [(missing, "there is no [[node]] `gpu-1`"), (unmade, "evenkeel node new")] {
        std::fs::write(&config, text).expect("it can be written");
        let ran = evenkeel(&["check", &file]).await;
        assert!(ran.code == 2 && ran.err.contains(says), "{says}: {ran:?}");
    }
    for (name, address, says) in
        [("GPU 1", "10.0.0.7:9910", "a-z, 0-9"), ("gpu-1", "10.0.0.7", "HOST:PORT")]
    {
        let ran = evenkeel(&["node", "new", name, "--address", address, "-c", &file]).await;
        assert!(ran.code == 1 && ran.err.contains(says), "{says}: {ran:?}");
    }
    let out = bundle(dir.path(), "gpu-1");
    let args = ["node", "new", "gpu-1", "--address", "10.0.0.7:9910", "-c", &file, "-o", &out];
    assert_eq!(evenkeel(&args).await.code, 0);
    assert_eq!(evenkeel(&["check", &file]).await.code, 0, "now it can be commanded");
    use std::os::unix::fs::PermissionsExt;
    for secret in [out.clone(), format!("{}/state/nodes/authority.json", dir.path().display())] {
        let mode = std::fs::metadata(&secret).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let ran = evenkeel(&args).await;
    assert!(ran.code == 1 && ran.err.contains("gpu-1.bundle"), "never written over: {ran:?}");
}
