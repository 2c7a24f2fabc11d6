//! Beats: hosts that are gone, hosts that are cut off, and who notices.

use super::{Node, asked, node, on, serving};
use crate::support::{SOON, Up, ask, chat, get, supervised, until, until_so};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::tempdir;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

/// Two replicas of one service, each on its own node.
fn two(first: &Node, second: &Node) -> String {
    let entry = supervised(1, &[]);
    let entry = entry.split_once("[[service.replica]]").expect("it has one").1.to_owned();
    let (a, b) = (&first.name, &second.name);
    format!("{}node = \"{a}\"\n[[service.replica]]{entry}node = \"{b}\"\n", supervised(1, &[]))
}

/// Clients that ask all the time; every answer must be right.
struct Asking {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Asking {
    fn begin(up: &Up, clients: usize) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let one = || {
            let (over, answered, at) = (over.clone(), answered.clone(), up.clients.clone());
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let answer = ask(&at, "", &chat("hello", 4, false)).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answered.fetch_add(1, Relaxed);
                }
            })
        };
        let clients = (0..clients).map(|_| one()).collect();
        Self { over, answered, clients }
    }

    async fn end(self) -> u32 {
        self.over.store(true, Relaxed);
        for client in self.clients {
            client.await.expect("every request was answered");
        }
        self.answered.load(Relaxed)
    }
}

/// How long until a replica is so.
async fn time_until(up: &Up, name: &str, since: Instant, so: impl Fn(&Value) -> bool) -> Duration {
    up.replica(name, so).await;
    now().saturating_duration_since(since)
}

#[tokio::test]
async fn a_host_that_is_gone_is_out_of_traffic_within_three_seconds_and_no_answer_fails() {
    let dir = tempdir();
    let first = Node::new(dir.path(), "gpu-1").await;
    let second = Node::new(dir.path(), "gpu-2").await;
    // Probes must not be what finds it.
    let config = two(&first, &second) + &first.config() + &second.config();
    let config = config.replacen(
        "[[service.replica]]",
        "probe = { interval = \"3s\" }\n[[service.replica]]",
        1,
    );
    let up = Up::within(dir, "", &config).await;
    for round in 0..2 {
        serving(&up, 2).await;
        let host = up.replica("chat-0", |r| r["gate"] == "open").await;
        let pid = u32::try_from(host["process"]["pid"].as_u64().unwrap_or(0)).expect("a pid");
        let asking = Asking::begin(&up, 2);
        let began = now();
        for process in [first.agent.id(), pid] {
            signal(process, Signal::STOP);
        }
        let doubted = time_until(&up, "chat-0", began, |r| r["gate"] != "open").await;
        let out = time_until(&up, "chat-0", began, |r| {
            r["health"] == "isolated" && r["why"].as_str().is_some_and(|w| w.contains("gpu-1"))
        })
        .await;
        println!("round {round}: nothing new after {doubted:?}, isolated after {out:?}");
        assert!(doubted <= Duration::from_secs(3), "{doubted:?}");
        let silent = node(&up, "gpu-1", "silent", |node| node["state"] == "silent").await;
        assert_eq!(silent["seen_by"], Value::Array(Vec::new()));
        assert!(silent["phi"].as_f64().is_some_and(|phi| phi > 8.0));
        let answered = asking.answered.load(Relaxed);
        until_so("the other one goes on", || asking.answered.load(Relaxed) > answered + 20).await;
        until("there is an incident", || async {
            let incidents = get(&up.admin, "/api/v1/incidents").await.json();
            let ours = incidents.as_array().cloned().unwrap_or_default();
            ours.iter().any(|one| one["replica"] == "chat-0").then_some(())
        })
        .await;
        for process in [first.agent.id(), pid] {
            signal(process, Signal::CONT);
        }
        assert!(asking.end().await > 20);
        node(&up, "gpu-1", "back", |node| node["state"] == "up").await;
        let back = up.replica("chat-0", |r| r["process"]["pid"].is_u64()).await;
        assert_eq!(back["process"]["pid"], pid, "nobody has restarted what could not be reached");
    }
    let incidents = get(&up.admin, "/api/v1/incidents").await.json();
    let ours = incidents.as_array().cloned().unwrap_or_default();
    assert!(ours.iter().any(|one| one["replica"] == "chat-0"), "{incidents}");
    let metrics = get(&up.admin, "/metrics").await.text();
    assert!(!metrics.contains("action=\"restart\""), "nothing was ordered where nothing arrives");
}

/// Passes connections on; while it is told to, only those of one process.
async fn between(to: u16, passes: u32) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let stalled = watch::Sender::new(false);
    let told = stalled.subscribe();
    tokio::spawn(async move {
        while let Ok((client, from)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
            // Looked for again: while others come and go the table is not read in one piece.
            let looked = spawn_blocking(move || (0..20).any(|_| owns(passes, from.port())));
            tokio::spawn(pass(client, server, looked, told.clone()));
        }
    });
    (port, stalled)
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    looked: JoinHandle<bool>,
    mut told: watch::Receiver<bool>,
) {
    let (mut looked, mut passes) = (Some(looked), false);
    loop {
        let stall = *told.borrow_and_update();
        if stall && let Some(looked) = looked.take() {
            passes = looked.await.expect("it looks");
        }
        let stall = stall && !passes;
        let copy = async {
            if stall {
                // Nothing is passed on and nothing is closed: so a cut looks.
                std::future::pending::<()>().await;
            }
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        };
        tokio::select! {
            () = copy => return,
            changed = told.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether a process has the socket that is bound to this port of loopback.
fn owns(pid: u32, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!("0100007F:{port:04X}");
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str())).then(|| format!("socket:[{}]", fields[9]))
    };
    let Some(socket) = table.lines().find_map(of) else { return false };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|link| link.to_str() == Some(socket.as_str()))
}

#[tokio::test]
async fn a_cut_that_others_see_through_is_no_death() {
    let dir = tempdir();
    let first = Node::new(dir.path(), "gpu-1").await;
    let second = Node::new(dir.path(), "gpu-2").await;
    let (port, stalled) = between(first.port, second.agent.id()).await;
    let config = two(&first, &second) + &first.config_at(port) + &second.config();
    let up = Up::within(dir, "", &config).await;
    let before = serving(&up, 2).await;
    for name in ["gpu-1", "gpu-2"] {
        node(&up, name, "up", |node| node["state"] == "up" && node["connected"] == true).await;
    }
    // The other node has heard it for a while.
    let asking = Asking::begin(&up, 2);
    until_so("some are answered", || asking.answered.load(Relaxed) > 100).await;
    stalled.send_replace(true);
    let cut = node(&up, "gpu-1", "cut", |node| node["state"] == "cut").await;
    assert_eq!(cut["seen_by"], serde_json::json!(["gpu-2"]));
    let replica = up.replica("chat-0", |r| r["health"] == "suspect").await;
    assert!(replica["why"].as_str().is_some_and(|why| why.contains("heard by gpu-2")));
    // It stays so: orders are known not to arrive, and nothing is done.
    node(&up, "gpu-1", "not commanded", |node| node["connected"] == false).await;
    let replica = up.replica("chat-0", |_| true).await;
    assert_eq!((&replica["health"], &replica["gate"]), (&"suspect".into(), &"last_resort".into()));
    let ran = up.cli(&["why", "chat-0"]).await;
    assert!(ran.out.contains("chat-0 on gpu-1  suspect") && ran.out.contains("node"), "{ran:?}");
    let ran = up.cli(&["replica", "restart", "chat-0"]).await;
    assert!(ran.code == 1 && ran.err.contains("no order reaches"), "{ran:?}");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("cut node gpu-1") && ran.out.contains("heard by gpu-2"), "{ran:?}");
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in ["evenkeel_node_up{node=\"gpu-1\"} 0", "evenkeel_node_cut{node=\"gpu-1\"} 1"] {
        assert!(metrics.contains(line), "{line}");
    }
    stalled.send_replace(false);
    node(&up, "gpu-1", "up again", |n| n["state"] == "up" && n["connected"] == true).await;
    assert_eq!(serving(&up, 2).await, before, "nothing was restarted");
    assert!(asking.end().await > 100);
    let incidents = get(&up.admin, "/api/v1/incidents").await.json();
    assert_eq!(incidents, Value::Array(Vec::new()), "a cut is no incident");
}

#[tokio::test]
async fn an_agent_hears_when_its_keeper_falls_silent_and_goes_on() {
    let dir = tempdir();
    let mut gpu = Node::new(dir.path(), "gpu-1").await;
    let up = Up::within(dir, "", &(on("gpu-1", 1, &[]) + &gpu.config())).await;
    let before = serving(&up, 1).await;
    node(&up, "gpu-1", "up", |node| node["state"] == "up").await;
    signal(up.process.id(), Signal::STOP);
    let line = gpu.agent.wait_for_line("the keeper is silent", SOON).await;
    line.expect("it says so");
    assert_eq!(asked(&up).await, 200, "the gateway goes on, too");
    signal(up.process.id(), Signal::CONT);
    gpu.agent.wait_for_line("heard again", SOON).await.expect("it says so");
    assert_eq!(serving(&up, 1).await, before);
    let log = up.process.output();
    assert!(!log.contains("state=\"silent\""), "who stood still accuses nobody: {log}");
}
