//! What is done about replicas here is done about those elsewhere: standbys, copies, logs,
//! leaving in peace; and what an agent does without a keeper.

use super::{Node, WHOLE, agent, asked, node, on, serving};
use crate::support::{
    EVENKEEL, Model, SOON, Stream, Up, alive, ask, chat, supervised, until, until_so, until_within,
};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::{kill9, signal};
use evenkeel_testkit::{Process, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// One replica elsewhere, and a standby on a node that is not started until then.
fn with_standby(active: &Model, gpu: &Node) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[service.standby]\nclean = \"1s\"\n\
         [[service.replica]]\nurl = \"{}\"\n[[service.replica]]\nrole = \"standby\"\nstandby = \
         \"cold\"\nnode = \"{}\"\ncommand = [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \
         \"--listen\", \"127.0.0.1:{{port}}\"]\nstop_grace = \"1s\"\n[recovery]\nprobation = \
         \"500ms\"\n{}",
        active.url(),
        gpu.name,
        gpu.config()
    )
}

async fn duty(up: &Up, duty: &str) -> Value {
    until_within(WHOLE, &format!("the standby is {duty}"), || async {
        let all = up.replicas().await;
        all.into_iter().find(|r| r["name"] == "chat-1" && r["duty"] == duty)
    })
    .await
}

#[tokio::test]
async fn a_standby_on_a_node_takes_over_and_goes_back() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let mut active = Model::start(&[]).await;
    let up = Up::within(dir, "", &with_standby(&active, &gpu)).await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    node(&up, "gpu-1", "commanded", |node| node["connected"] == true).await;
    let rests = duty(&up, "standby").await;
    assert!(rests["process"]["pid"].is_null(), "a cold one is not started: {rests}");
    active.kill9();
    let promoted = duty(&up, "promoted").await;
    assert_eq!(promoted["process"]["node"], "gpu-1", "{promoted}");
    let pid = u32::try_from(promoted["process"]["pid"].as_u64().unwrap_or(0)).expect("a pid");
    assert!(alive(pid));
    assert_eq!(asked(&up).await, 200);
    active.again().await;
    duty(&up, "standby").await;
    until_so("it is stopped there", || !alive(pid)).await;
    assert_eq!(asked(&up).await, 200);
}

#[tokio::test]
async fn what_has_no_keeper_goes_on_for_as_long_as_it_may() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let config = on("gpu-1", 2, &[]) + &gpu.config() + "orphan_after = \"10s\"\n";
    let up = Up::within(dir, "", &config).await;
    let before = serving(&up, 2).await;
    up.process.kill9();
    let died = now();
    let Up { process, dir, .. } = up;
    drop(process);
    until_within(WHOLE, "they are stopped", || async {
        let all_gone = !before.iter().any(|pid| alive(*pid));
        all_gone.then_some(())
    })
    .await;
    let went_on = now().saturating_duration_since(died);
    assert!(went_on >= Duration::from_secs(9), "only for {went_on:?}");
    let up = Up::from(dir, "").await;
    let after = serving(&up, 2).await;
    assert!(after.iter().all(|pid| !before.contains(pid)), "started anew");
    assert_eq!(asked(&up).await, 200);
}

#[tokio::test]
async fn copies_come_and_go_on_a_node() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let scale = "[service.scale]\nmin = 1\nmax = 3\ntarget_queue = 100\ndown_after = \"2s\"\n";
    let service = on("gpu-1", 1, &["--pace\", \"20"]).replacen(
        "[[service.replica]]",
        &format!("{scale}[[service.replica]]"),
        1,
    );
    let up = Up::within(dir, "", &(service + &gpu.config())).await;
    let first = serving(&up, 1).await;
    assert_eq!(up.cli(&["scale", "chat", "3", "--owner", "me"]).await.code, 0);
    let three = serving(&up, 3).await;
    assert_eq!(three[0], first[0], "what ran goes on");
    let all = up.replicas().await;
    assert!(all.iter().all(|r| r["process"]["node"] == "gpu-1"), "{all:?}");
    // Three streams, one on each; those that go end theirs first.
    let body = chat("a long story", 100, true);
    let streams = [
        Stream::begin(&up, &body).await,
        Stream::begin(&up, &body).await,
        Stream::begin(&up, &body).await,
    ];
    assert_eq!(up.cli(&["scale", "chat", "1", "--owner", "me"]).await.code, 0);
    let right = right(&body).await;
    for stream in streams {
        assert_eq!(stream.end().await, right);
    }
    assert_eq!(serving(&up, 1).await, first);
    until_so("the others have ended", || !three[1..].iter().any(|pid| alive(*pid))).await;
}

/// What another server of the same model answers.
async fn right(body: &str) -> Value {
    let model = Model::start(&[]).await;
    let body = body.replace("\"stream\":true", "\"stream\":false");
    let answer = ask(&model.address, "", &body).await.json();
    answer["choices"][0]["message"]["content"].clone()
}

#[tokio::test]
async fn a_log_far_away_is_followed() {
    let dir = tempdir();
    let mut gpu = Node::new(dir.path(), "gpu-1").await;
    let up = Up::within(dir, "", &(on("gpu-1", 1, &[]) + &gpu.config())).await;
    let pid = serving(&up, 1).await[0];
    let mut command = Command::new(EVENKEEL);
    let admin = format!("http://{}", up.admin);
    command.args(["logs", "chat-0", "-n", "5", "-f", "--admin", &admin]);
    let mut log = Process::start("logs", &mut command, up.dir.path());
    log.wait_for_line("incarnation 1", SOON).await.expect("what is there already");
    kill9(pid);
    log.wait_for_line("incarnation 2", SOON).await.expect("what is written from now on");
    // An agent that dies ends it, and says so; the next one has the log still.
    gpu.agent.kill9();
    log.wait(SOON).await.expect("it ends");
    gpu.agent = agent(up.dir.path(), "gpu-1", gpu.port).await;
    serving(&up, 1).await;
    until("the next agent tells what the one before it has kept", || async {
        let ran = up.cli(&["logs", "chat-0"]).await;
        (ran.out.contains("incarnation 1") && ran.out.contains("incarnation 2")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_leaves_the_configuration_ends_what_it_has_begun() {
    let dir = tempdir();
    let gpu = Node::new(dir.path(), "gpu-1").await;
    let pace = ["--pace\", \"20"];
    let stay = "resume = { move_on_drain = false }\n";
    let here = supervised(1, &pace).replacen(
        "[[service.replica]]",
        &format!("{stay}[[service.replica]]"),
        1,
    );
    let there = on("gpu-1", 1, &pace);
    let there = there.split_once("[[service.replica]]").expect("it has one").1;
    let both = format!("{here}[[service.replica]]{there}{}", gpu.config());
    let up = Up::within(dir, "", &both).await;
    let pids = serving(&up, 2).await;
    let body = chat("a long story", 150, true);
    let mut streams = [Stream::begin(&up, &body).await, Stream::begin(&up, &body).await];
    up.rewrite(&here);
    signal(up.process.id(), Signal::HUP);
    let leaving = up.replica("chat-1", |r| r["health"] == "draining").await;
    assert_eq!(leaving["gate"], "shut", "{leaving}");
    for stream in &mut streams {
        assert!(stream.more(40).await, "it should have been under way");
    }
    assert!(alive(pids[1]), "it was stopped under its stream");
    node(&up, "gpu-1", "still commanded", |node| node["connected"] == true).await;
    let right = right(&body).await;
    for stream in streams {
        assert_eq!(stream.end().await, right);
    }
    until_so("its process ends then", || !alive(pids[1])).await;
    until_within(WHOLE, "nothing tells of the node any more", || async {
        let now = up.snapshot().await;
        let none = now["nodes"].as_array().is_none_or(Vec::is_empty);
        (none && up.replicas().await.len() == 1).then_some(())
    })
    .await;
    assert!(alive(pids[0]));
    // It comes back as if it had never left.
    up.rewrite(&both);
    let again = serving(&up, 2).await;
    assert_eq!(again[0], pids[0]);
    assert_eq!(asked(&up).await, 200);
}
