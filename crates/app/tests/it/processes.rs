//! Who may die, and what goes on or ends with it.

use crate::support::{
    EVENKEEL, SOON, Up, Wire, alive, ask, chat, evenkeel, get, post, service, supervised, until,
    until_so, until_within,
};
use evenkeel_domain::clock::now;
use evenkeel_testkit::process::{kill9, signal};
use evenkeel_testkit::{Behaviour, Oracle, Replica, ports, tempdir};
use rustix::process::Signal;
use std::time::Duration;

/// How long clients may wait for a gateway that was killed. It starts in 50 ms; this is
/// the promise for the debug build, too.
const BACK: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_killed_gateway_is_back_before_anyone_notices() {
    let up = Up::start(&supervised(2, &[])).await.ready().await;
    let (replicas, before) = (up.pids().await, up.gateway_pid().await);
    for _ in 0..3 {
        let gateway = up.gateway_pid().await;
        let killed = now();
        kill9(gateway);
        // One that is accepted by the dying process breaks with it; one after it waits.
        until_so("the gateway is dead", || !alive(gateway)).await;
        let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
        let back = now() - killed;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(back <= BACK, "serving again after {back:?}");
    }
    assert_ne!(up.gateway_pid().await, before);
    assert_eq!(up.pids().await, replicas);
}

/// All processes whose environment holds a text.
fn marked(mark: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            alive(*pid) && String::from_utf8_lossy(&environment).contains(mark)
        })
        .collect()
}

#[tokio::test]
async fn nothing_outlives_a_killed_keeper() {
    let mark = format!("EVENKEEL_MARK={}", tempdir().path().display());
    let value = mark.split_once('=').map(|(_, value)| value).unwrap_or_default();
    // A wrapper that forks, as start scripts do; one child leaves its session.
    let script = format!("setsid sleep 600 & sleep 600 & {EVENKEEL} model --listen 127.0.0.1:$0");
    let up = Up::start(&format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\ncommand = [\"sh\", \
         \"-c\", \"{script}\", \"{{port}}\"]\ncopies = 2\nenv = {{ EVENKEEL_MARK = \"{value}\" }}\n"
    ))
    .await
    .ready()
    .await;
    let gateway = up.gateway_pid().await;
    assert!(marked(&mark).len() >= 8, "{:?}", marked(&mark));
    up.process.kill9();
    until_so("the gateway ends", || !alive(gateway)).await;
    until_so("all replicas end, and what they started", || marked(&mark).is_empty()).await;
}

#[tokio::test]
async fn a_stop_lets_answers_end_and_says_so() {
    let gap = Duration::from_millis(60);
    let replica = Replica::start(Behaviour::Paced { first: gap, gap }).await;
    let mut up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let oracle = Oracle::new(&up.url());
    let stream = tokio::spawn(async move { oracle.ask("a long story", 30, true).await });
    replica.wait_for(SOON, |c| c.begun >= 1).await.expect("the stream begins");
    up.process.terminate();
    until("readyz says that it drains", || async {
        let answer = Wire::get(&up.admin, "/readyz").await.ok()?;
        (answer.status == 503 && answer.json()["draining"] == true).then_some(())
    })
    .await;
    until("new clients are refused", || async {
        tokio::net::TcpStream::connect(&up.clients).await.is_err().then_some(())
    })
    .await;
    assert!(!stream.is_finished(), "the stream should have been under way");
    assert_eq!(get(&up.admin, "/livez").await.status, 200);
    assert_eq!(get(&up.admin, "/readyz").await.status, 503);
    assert_eq!(up.snapshot().await["gateway"]["draining"], true);
    let seen = stream.await.expect("the stream was asked for");
    assert!(seen.is_ok(), "{:?}", seen.verdict);
    let ended = up.process.wait(SOON).await.expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_hurries() {
    let replica = Replica::start(Behaviour::Hang).await;
    let mut up =
        Up::start(&service("probe = { kind = \"tcp\" }", &[replica.url()])).await.ready().await;
    let mut client = Wire::open(&up.clients).await;
    client.send(post("/v1/chat/completions", "", &chat("hello", 4, false))).await;
    replica.wait_for(SOON, |c| c.begun == 1).await.expect("the request arrives");
    up.process.terminate();
    until("it drains", || async {
        let answer = Wire::get(&up.admin, "/readyz").await.ok()?;
        (answer.status == 503).then_some(())
    })
    .await;
    up.process.terminate();
    assert_eq!(up.process.wait(Duration::from_secs(3)).await.and_then(|e| e.code()), Some(0));
}

#[tokio::test]
async fn an_upgrade_moves_the_admin_api_at_once() {
    let gap = Duration::from_millis(60);
    let replica = Replica::start(Behaviour::Paced { first: gap, gap }).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let before = up.gateway_pid().await;
    let oracle = Oracle::new(&up.url());
    let stream = tokio::spawn(async move { oracle.ask("a long story", 30, true).await });
    replica.wait_for(SOON, |c| c.begun >= 1).await.expect("the stream begins");
    signal(up.process.id(), Signal::USR2);
    until("the new gateway answers", || async { (up.gateway_pid().await != before).then_some(()) })
        .await;
    // The old one has a stream to finish, but no word in this any more.
    assert!(alive(before) && !stream.is_finished());
    for _ in 0..20 {
        let snapshot = up.snapshot().await;
        assert_ne!(snapshot["gateway"]["pid"], before);
        assert_eq!(snapshot["gateway"]["draining"], false);
    }
    let seen = stream.await.expect("the stream was asked for");
    assert!(seen.is_ok(), "{:?}", seen.verdict);
    until_so("the old gateway ends", || !alive(before)).await;
}

/// `evenkeel up` with a configuration that cannot work: its exit code and its one line.
async fn refused(text: &str) -> (i32, String) {
    let dir = tempdir();
    let file = dir.path().join("evenkeel.toml");
    let text = format!("state_dir = \"{}/state\"\n{text}", dir.path().display());
    std::fs::write(&file, text).expect("the file can be written");
    let path = file.display().to_string();
    let ran = evenkeel(&["up", "-c", &path]).await;
    let said: Vec<&str> = ran.err.lines().filter(|l| !l.contains(" WARN ")).collect();
    assert_eq!(said.len(), 1, "one line: {ran:?}");
    (ran.code, said[0].replace(&path, "FILE"))
}

fn with_gateway(gateway: &str, replica: &str) -> String {
    let admin = ports::free_port();
    format!(
        "[admin]\nlisten = \"127.0.0.1:{admin}\"\n[gateway]\n{gateway}\n[[service]]\nname = \
         \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\n{replica}\n"
    )
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = taken.local_addr().expect("it has an address");
    let free = "listen = \"127.0.0.1:0\"";
    let url = "url = \"http://127.0.0.1:9\"";
    let tls = format!("{free}\ntls = {{ cert = \"/no/cert.pem\", key = \"/no/key.pem\" }}");
    let table = [
        (with_gateway(&format!("listen = \"{taken}\""), url), 1, format!("{taken}"), "in use"),
        (
            with_gateway(&format!("{free}\nliston = 1"), url),
            2,
            "FILE:6:1".into(),
            "did you mean `listen`",
        ),
        (
            with_gateway(free, "command = [\"/no/such/server\", \"{port}\"]"),
            2,
            "FILE:".into(),
            "/no/such/server",
        ),
        (with_gateway(&tls, url), 2, "FILE:6:1: gateway.tls".into(), "cannot be read"),
        (
            with_gateway(free, "bearer_file = \"/no/secret\"\nurl = \"http://127.0.0.1:9\""),
            2,
            "bearer_file".into(),
            "/no/secret",
        ),
    ];
    for (text, code, place, reason) in table {
        let (got, line) = refused(&text).await;
        assert_eq!(got, code, "{line}");
        assert!(line.contains(&place) && line.contains(reason), "{place}, {reason}: {line}");
    }
    let ran = evenkeel(&["up", "-c", "/no/such/file.toml"]).await;
    assert!(ran.code == 2 && ran.err.contains("evenkeel init"), "{ran:?}");
}

#[tokio::test]
async fn a_server_that_crashes_again_and_again_shows() {
    let up = Up::start(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\ncommand = [\"sh\", \
         \"-c\", \"echo no GPU here; exit 3\", \"{port}\"]\n",
    )
    .await;
    let seen = up.replica("chat-0", |r| r["process"]["restarts"].as_u64() >= Some(2)).await;
    assert_ne!(seen["gate"], "open");
    let ran = up.cli(&["status", "--json"]).await;
    assert_eq!(ran.code, 1, "not ready: {ran:?}");
    let status: serde_json::Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    let process = &status["services"][0]["replicas"][0]["process"];
    assert!(process["last_exit"].as_str().is_some_and(|e| e.contains('3')), "{process}");
    assert_eq!(process["last_lines"][0], "no GPU here");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("chat-0") && ran.out.contains("exited with code 3"), "{}", ran.out);
}

#[tokio::test]
async fn a_crash_loop_shows_while_others_serve_and_ends_with_its_cause() {
    let dir = tempdir();
    let gpu = dir.path().join("gpu");
    let gpu = gpu.display();
    let script = format!("test -e {gpu} || exit 3; exec {EVENKEEL} model --listen 127.0.0.1:$0");
    let up = Up::start(&format!(
        "{}[[service.replica]]\ncommand = [\"sh\", \"-c\", \"{script}\", \"{{port}}\"]\n",
        supervised(1, &[])
    ))
    .await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    // Six ends within a minute: the waits before them are 0, 1, 2, 4 and 8 s, and a bit.
    let loops = until_within(Duration::from_secs(25), "it is held to be a crash loop", || async {
        assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
        let all = up.replicas().await;
        all.into_iter().find(|r| r["name"] == "chat-1" && r["process"]["phase"] == "crash_loop")
    })
    .await;
    let process = &loops["process"];
    assert_eq!(
        (&process["crash_loop"], &process["restarts"]),
        (&true.into(), &5.into()),
        "{loops}"
    );
    assert_ne!(loops["gate"], "open");
    let ran = up.cli(&["status"]).await;
    assert_eq!(ran.code, 0, "the service is ready: {ran:?}");
    let row = ran.out.lines().find(|line| line.starts_with("chat-1")).expect("it has a row");
    for part in ["crash loop", "exited with code 3", "next start in"] {
        assert!(row.contains(part), "{part}: {}", ran.out);
    }
    let ran = up.cli(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&ran.out).expect("it prints JSON");
    let replica = &status["services"][0]["replicas"][1];
    assert_eq!(
        (&replica["name"], &replica["process"]["crash_loop"]),
        (&"chat-1".into(), &true.into())
    );
    assert_eq!((&status["ready"], &status["services"][0]["open"]), (&true.into(), &1.into()));
    // Whoever has mended it need not wait for the next start.
    std::fs::write(dir.path().join("gpu"), "").expect("a file can be written");
    assert_eq!(up.cli(&["replica", "restart", "chat-1"]).await.code, 0);
    let mended = up.replica("chat-1", |r| r["gate"] == "open").await;
    assert_eq!(mended["process"]["crash_loop"], false, "{mended}");
}

#[tokio::test]
async fn who_asks_where_nobody_is_hears_so() {
    let nobody = format!("http://127.0.0.1:{}", ports::free_port());
    for command in [&["status"][..], &["logs", "chat-0"], &["replica", "drain", "chat-0"]] {
        let ran = evenkeel(&[command, &["--admin", &nobody]].concat()).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}
