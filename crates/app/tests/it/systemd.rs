//! What systemd hears of the keeper, and the unit that is shipped.

use crate::support::{SOON, Up, ask, chat, evenkeel, service, supervised};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Replica, TempDir, tempdir};
use rustix::process::Signal;
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/evenkeel.service");

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn listen() -> Self {
        let dir = tempdir();
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket can be bound");
        Self { socket, dir }
    }

    /// Evenkeel as this manager would start it.
    async fn start(&self, services: &str) -> Up {
        Up::changed(services, |command| {
            command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
            command.env("WATCHDOG_USEC", "30000000");
        })
        .await
    }

    /// The next message, if one comes in time.
    async fn hears(&self, within: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = timeout(within, self.socket.recv(&mut bytes)).await.ok()?;
        let length = length.expect("the socket works");
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Waits for a message with this line.
    async fn hears_of(&self, line: &str) {
        let deadline = now() + SOON;
        let mut before = Vec::new();
        while now() < deadline {
            let Some(message) = self.hears(SOON).await else { break };
            if message.lines().any(|l| l == line) {
                return;
            }
            before.push(message);
        }
        panic!("{line} did not come after {before:?}");
    }
}

#[tokio::test]
async fn it_hears_of_the_start_of_life_and_of_the_end() {
    let manager = Manager::listen();
    let replica = Replica::start(Behaviour::Good).await;
    let mut up = manager.start(&service("", &[replica.url()])).await;
    manager.hears_of("READY=1").await;
    let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(answer.status, 200, "who is told that it is ready may ask: {}", answer.text());
    for _ in 0..3 {
        manager.hears_of("WATCHDOG=1").await;
    }
    up.process.terminate();
    manager.hears_of("STOPPING=1").await;
    let ended = up.process.wait(SOON).await.expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_gateway_that_hangs_is_not_vouched_for() {
    let manager = Manager::listen();
    let replica = Replica::start(Behaviour::Good).await;
    let up = manager.start(&service("", &[replica.url()])).await;
    manager.hears_of("WATCHDOG=1").await;
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::STOP);
    // Fed once a second; two and a half of silence are the end of it.
    let deadline = now() + 2 * SOON;
    while manager.hears(Duration::from_millis(2500)).await.is_some() {
        assert!(now() < deadline, "the watchdog is fed although the gateway hangs");
    }
    signal(gateway, Signal::CONT);
    manager.hears_of("WATCHDOG=1").await;
}

#[tokio::test]
async fn replicas_do_not_speak_for_the_keeper() {
    let manager = Manager::listen();
    let up = manager.start(&supervised(1, &[])).await.ready().await;
    let keeper = environment(up.process.id());
    assert!(keeper.iter().any(|v| v.starts_with("NOTIFY_SOCKET=")), "{keeper:?}");
    let replica = environment(up.pids().await[0]);
    let told = |v: &&String| v.starts_with("NOTIFY_SOCKET=") || v.starts_with("WATCHDOG_");
    assert!(!replica.is_empty());
    assert_eq!(replica.iter().find(told), None);
}

fn environment(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).expect("it is ours");
    let all = bytes.split(|byte| *byte == 0).map(|v| String::from_utf8_lossy(v).into_owned());
    all.filter(|v| !v.is_empty()).collect()
}

#[tokio::test]
async fn the_agents_unit_starts_it() {
    let unit = UNIT.replace("evenkeel.service", "evenkeel-agent@.service");
    let text = std::fs::read_to_string(unit).expect("the unit is there");
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/evenkeel "));
    let args: Vec<&str> = start.expect("it starts the binary").split(' ').collect();
    // Told to help it reads its arguments and ends.
    let ran = evenkeel(&[&args[..], &["--help"]].concat()).await;
    assert!(ran.code == 0 && ran.out.contains("--allow"), "{ran:?}");
    assert!(text.contains("Type=notify") && text.contains("KillMode=mixed"));
}

/// The values of a key in the unit.
fn unit(key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(UNIT).expect("the unit is there");
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_units_commands_are_ours() {
    let dir = tempdir();
    let file = dir.path().join("evenkeel.toml").display().to_string();
    let ran = evenkeel(&["init", &file, "--url", "http://127.0.0.1:9", "--model", "m"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let here = |command: &str| -> Vec<String> {
        let args = command.strip_prefix("/usr/bin/evenkeel ").expect("it starts the binary");
        let args = args.replace("/etc/evenkeel/evenkeel.toml", &file);
        args.split(' ').map(str::to_owned).collect()
    };
    let [before, start] = [unit("ExecStartPre"), unit("ExecStart")];
    let before = here(&before[0]);
    let ran = evenkeel(&before.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // Told to help it reads its arguments and ends.
    let mut start = here(&start[0]);
    start.push("--help".into());
    let ran = evenkeel(&start.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(ran.code == 0 && ran.out.contains("--config"), "{ran:?}");
    assert_eq!(unit("Type"), ["notify"]);
}

#[tokio::test]
async fn foreign_systemd_takes_the_unit() {
    let dir = tempdir();
    let text = std::fs::read_to_string(UNIT).expect("the unit is there");
    // It looks whether the program is there, which is not installed yet.
    let text = text.replace("/usr/bin/evenkeel", crate::support::EVENKEEL);
    let file = dir.path().join("evenkeel.service");
    std::fs::write(&file, text).expect("a file can be written");
    let mut command = tokio::process::Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&file).kill_on_drop(true);
    let ran = timeout(SOON, command.output()).await.expect("it ends");
    let ran = ran.expect("systemd-analyze runs; scripts/test installs it");
    let said = String::from_utf8_lossy(&ran.stderr);
    // What it says of this machine's own units is not ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("evenkeel")).collect();
    assert!(ran.status.success() && ours.is_empty(), "{said}");
}
