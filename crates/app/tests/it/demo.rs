//! `evenkeel demo`, as somebody sees it who has nothing but the binary.

use crate::support::{EVENKEEL, SOON, ask};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Process, tempdir};
use rustix::process::Signal;
use std::process::Command;

#[tokio::test]
async fn it_says_what_runs_answers_and_leaves_nothing_behind() {
    let dir = tempdir();
    let mut command = Command::new(EVENKEEL);
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--replicas", "2", "--pace", "1"]).env("TMPDIR", dir.path());
    let mut demo = Process::start("demo", &mut command, dir.path());
    demo.wait_for_line("Ctrl-C drains", SOON).await.expect("it serves");
    let said = demo.output();
    for part in ["replica   demo-0", "replica   demo-1", "kill -9 ", "curl -N http://127.0.0.1:"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let clients = said.lines().find_map(|line| line.trim().strip_prefix("clients   http://"));
    let clients = clients.and_then(|rest| rest.split(' ').next()).expect("an address");
    let body = r#"{"model":"evenkeel-demo","messages":[{"role":"user","content":"the sea"}]}"#;
    let answer = ask(clients, "", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let own = |name: &str| name.starts_with("evenkeel-demo-");
    let left = || {
        let names = std::fs::read_dir(dir.path()).expect("the directory is there");
        names.flatten().filter(|entry| entry.file_name().to_str().is_some_and(own)).count()
    };
    assert_eq!(left(), 1, "its files are in one directory");
    signal(demo.id(), Signal::INT);
    assert!(demo.wait(SOON).await.expect("it ends").success(), "{}", demo.output());
    assert_eq!(left(), 0, "nothing is left");
}

#[tokio::test]
async fn it_serves_nobody_but_this_machine() {
    let ran = crate::support::evenkeel(&["demo", "--listen", "0.0.0.0:0"]).await;
    assert!(ran.code == 1 && ran.err.contains("evenkeel init"), "{ran:?}");
}
