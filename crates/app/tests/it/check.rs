//! Checks: what is looked at beside replicas, and what follows from it.

use crate::support::{Model, Up, ask, chat, evenkeel, get, supervised, until};
use evenkeel_testkit::{TempDir, tempdir};
use serde_json::Value;
use std::path::Path;

/// A script that says what a file says: the first line to people, the second is its code.
fn saying(file: &Path) -> String {
    let file = file.display();
    format!("[\"sh\", \"-c\", \"head -n1 {file}; exit $(tail -n1 {file})\"]")
}

fn say(file: &Path, text: &str, code: u8) {
    // Whole or not at all: it is read meanwhile.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{text}\n{code}\n")).expect("it can be written");
    std::fs::rename(new, file).expect("it can be replaced");
}

fn check(name: &str, lines: &str) -> String {
    format!("[[check]]\nname = \"{name}\"\ninterval = \"50ms\"\n{lines}\n")
}

async fn state(up: &Up, name: &str, wanted: &str) -> Value {
    until(&format!("the check {name} is {wanted}"), || async {
        let all = up.snapshot().await["checks"].as_array().cloned().unwrap_or_default();
        let looked = |c: &Value| c["name"] == name && c["looked_unix_ms"].is_u64();
        all.into_iter().find(looked).filter(|c| c["state"] == wanted)
    })
    .await
}

async fn contains(up: &Up, args: &[&str], parts: &[&str]) {
    let ran = up.cli(args).await;
    for part in parts {
        assert!(ran.out.contains(part), "{args:?} without {part}: {ran:?}");
    }
}

fn place() -> (TempDir, std::path::PathBuf) {
    let dir = tempdir();
    let file = dir.path().join("says");
    (dir, file)
}

#[tokio::test]
async fn a_script_that_lasts_makes_its_replica_suspect_and_says_why() {
    let (_dir, file) = place();
    say(&file, "COOLING OK - 40 degrees | inlet=40;60;70", 0);
    let script = format!(
        "kind = \"script\"\ncommand = {}\nreplicas = [\"chat-1\"]\nfor = \"400ms\"",
        saying(&file)
    );
    let services = supervised(2, &[]) + &check("cooling", &script);
    let up = Up::start(&services).await.ready().await;
    state(&up, "cooling", "ok").await;
    say(&file, "COOLING CRITICAL - 75 degrees | inlet=75;60;70", 2);
    // What it says does not count at once, and is told all the same.
    until("it is pending", || async {
        let all = up.snapshot().await["checks"].clone();
        let pending = all[0]["pending"].as_str().unwrap_or_default().to_owned();
        (all[0]["state"] == "ok" && pending.contains("75 degrees")).then_some(())
    })
    .await;
    state(&up, "cooling", "critical").await;
    let one = up.replica("chat-1", |r| r["health"] == "suspect").await;
    let why = one["why"].as_str().unwrap_or_default();
    assert!(why.contains("check: cooling: COOLING CRITICAL - 75 degrees"), "{why}");
    let other = up.replica("chat-0", |r| r["gate"] == "open").await;
    assert_eq!(other["health"], "healthy");
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    let said = "COOLING CRITICAL - 75 degrees";
    contains(&up, &["why", "chat-1"], &["suspect", "cooling", said, "one signal (check)"]).await;
    contains(&up, &["status"], &["✖ critical check cooling for", said, "against chat-1"]).await;
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_check_state{check=\"cooling\",subject=\"\"} 2",
        "evenkeel_check_value{check=\"cooling\",subject=\"\",measure=\"inlet\"} 75",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"check\"") && events.contains("\"to\":\"critical\""));
    say(&file, "COOLING OK - 50 degrees | inlet=50;60;70", 0);
    up.replica("chat-1", |r| r["gate"] == "open").await;
    state(&up, "cooling", "ok").await;
    // Its alert is over a little later: a look that missed something is no end.
    until("nothing is said of it any more", || async {
        (!up.cli(&["status"]).await.out.contains("cooling")).then_some(())
    })
    .await;
    contains(&up, &["status", "--checks"], &["● ok check cooling for", "50 degrees"]).await;
}

#[tokio::test]
async fn a_definite_check_isolates_alone_and_taking_it_away_takes_it_back() {
    let (_dir, file) = place();
    say(&file, "{\"status\": \"critical\", \"message\": \"the link is down\"}", 0);
    let script = format!(
        "kind = \"script\"\ncommand = {}\nservice = \"chat\"\ndefinite = true\nfor = \"0s\"",
        saying(&file)
    );
    // Nothing is healed: only the check decides here.
    let services = supervised(1, &[]) + "[recovery]\nact = false\n";
    let up = Up::start(&services).await.ready().await;
    let memory = check("memory", "kind = \"memory\"\ncritical = \"99.9%\"");
    up.rewrite(&(services.clone() + &memory + &check("link", &script)));
    let since = state(&up, "memory", "ok").await["since_unix_ms"].clone();
    let one = up.replica("chat-0", |r| r["health"] == "isolated").await;
    assert_eq!(one["gate"], "shut");
    assert!(one["why"].as_str().is_some_and(|why| why.contains("link: the link is down")), "{one}");
    up.rewrite(&(services + &memory));
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let all = up.snapshot().await["checks"].as_array().cloned().unwrap_or_default();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["since_unix_ms"], since, "what is as before goes on as it is");
}

#[tokio::test]
async fn the_host_is_measured_and_a_script_that_hangs_is_ended_with_its_children() {
    let (dir, _) = place();
    let pid = dir.path().join("pid");
    let hangs = format!(
        "kind = \"script\"\ncommand = [\"sh\", \"-c\", \"sleep 600 & echo $! > {}; wait\"]\n\
         timeout = \"300ms\"\nfor = \"0s\"",
        pid.display()
    );
    let mut services = supervised(1, &[]) + &check("hangs", &hangs);
    for (kind, more) in [("cpu", ""), ("memory", ""), ("load", ""), ("files", "")] {
        services += &check(kind, &format!("kind = \"{kind}\"\n{more}"));
    }
    services += &check("root", "kind = \"disk\"\npath = \"/\"\ncritical = { free = \"1B\" }");
    services += &check(
        "full",
        "kind = \"disk\"\npath = \"/\"\ncritical = { free = \"900TiB\" }\nfor = \"0s\"",
    );
    services += &check("gone", "kind = \"disk\"\npath = \"/no/such/place\"\nfor = \"0s\"");
    let up = Up::start(&services).await.ready().await;
    for name in ["cpu", "memory", "load", "files", "root"] {
        let seen = state(&up, name, "ok").await;
        assert!(seen["values"].as_array().is_some_and(|all| all.len() >= 3), "{seen}");
    }
    let full = state(&up, "full", "critical").await;
    assert!(
        full["why"].as_str().is_some_and(|why| why.contains("critical up to 900TiB")),
        "{full}"
    );
    let gone = state(&up, "gone", "critical").await;
    assert!(gone["why"].as_str().is_some_and(|why| why.contains("is it mounted?")), "{gone}");
    // Nobody is concerned by these: the replica serves.
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let hangs = state(&up, "hangs", "unknown").await;
    assert!(hangs["why"].as_str().is_some_and(|why| why.contains("within 300ms")), "{hangs}");
    let child = std::fs::read_to_string(&pid).expect("it was started");
    let child = child.trim().parse().expect("a number");
    until("its child is ended, too", || async { (!crate::support::alive(child)).then_some(()) })
        .await;
}

#[tokio::test]
async fn check_names_what_is_wrong_with_a_check() {
    let dir = tempdir();
    let path = dir.path().join("bad.toml");
    for (lines, says) in [
        ("kind = \"dsk\"", "check[0].kind: there is no check `dsk`; use one of"),
        ("kind = \"disk\"", "check[0].path: is missing: name a directory"),
        ("kind = \"disk\"\npath = \"data\"", "check[0].path: `data` must begin with `/`"),
        ("kind = \"cpu\"\ntimeout = \"1ms\"", "check[0].interval: `interval` and `timeout` are at"),
        ("kind = \"redis\"\nurl = \"redis://me:hunter2@h\"", "put that into a `password_file`"),
        ("kind = \"cpu\"\npath = \"/\"", "check[0].path: a check of the kind `cpu` has no `path`"),
        ("kind = \"cpu\"\ncritical = \"5GiB\"", "check[0].critical: nothing is measured here"),
        ("kind = \"cpu\"\nwarning = \"95%\"\ncritical = \"90%\"", "is never reached before"),
        ("kind = \"cpu\"\nservice = \"char\"", "check[0].service: there is no service `char`"),
        ("kind = \"cpu\"\nreplicas = [\"chat-9\"]", "check[0].replicas: there is no replica"),
        ("kind = \"cpu\"\ndefinite = true", "check[0].definite: isolates nobody"),
        ("kind = \"script\"", "check[0].command: is missing"),
        ("kind = \"script\"\ncommand = [\"/no/such\"]", "`/no/such` does not exist; install"),
        ("kind = \"cpu\"\ncritcal = \"5%\"", "did you mean `critical`?"),
    ] {
        let text = supervised(1, &[]) + &check("c", lines);
        std::fs::write(&path, text).expect("a file can be written");
        let ran = evenkeel(&["check", &path.display().to_string()]).await;
        let said = ran.out.clone() + &ran.err;
        assert!(ran.code == 2 && said.contains(says) && said.contains("bad.toml:"), "{ran:?}");
    }
}

#[tokio::test]
async fn one_replicas_process_is_measured_and_speaks_against_it_alone() {
    let process =
        "kind = \"process\"\nservice = \"chat\"\ncritical = { memory = \"900TiB\" }\nfor = \"0s\"";
    let services = supervised(2, &[]);
    let up = Up::start(&(services.clone() + &check("process", process))).await.ready().await;
    let all = until("both are measured", || async {
        let all = up.snapshot().await["checks"].as_array().cloned().unwrap_or_default();
        (all.len() == 2 && all.iter().all(|c| c["state"] == "ok")).then_some(all)
    })
    .await;
    let subjects: Vec<_> = all.iter().map(|c| c["subject"].as_str().unwrap_or("")).collect();
    assert_eq!(subjects, ["chat-0", "chat-1"]);
    for measure in ["memory", "threads", "files", "processes"] {
        let line = format!("check=\"process\",subject=\"chat-1\",measure=\"{measure}\"}} ");
        let metrics = get(&up.admin, "/metrics").await.text();
        let value = metrics.split_once(&line).and_then(|(_, rest)| rest.lines().next());
        let value: f64 = value.and_then(|v| v.parse().ok()).unwrap_or(0.0);
        assert!(value >= 1.0, "{measure} {value}");
    }
    let one = process.replace("service = \"chat\"", "replicas = [\"chat-1\"]");
    up.rewrite(&(services + &check("process", &one.replace("900TiB", "1MB"))));
    let it = up.replica("chat-1", |r| r["health"] == "suspect").await;
    let why = it["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("check: process (chat-1): memory") && why.contains("critical from"),
        "{why}"
    );
    assert_eq!(up.replica("chat-0", |_| true).await["gate"], "open");
}

#[tokio::test]
async fn servers_that_are_no_replicas_are_asked() {
    let mut model = Model::start(&[]).await;
    let (url, tcp) = (model.url(), model.address.clone());
    let right = ask(&model.address, "", &chat("one", 4, false)).await.json();
    let right = right["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    let body = chat("one", 4, false).replace('"', "\\\"");
    let inference = format!(
        "kind = \"inference\"\nurl = \"{url}\"\npath = \"/v1/chat/completions\"\nbody = \
         \"{body}\"\nfor = \"0s\"\nexpect = "
    );
    let mut services = supervised(1, &[]);
    for (name, lines) in [
        ("tcp", format!("kind = \"tcp\"\nurl = \"tcp://{tcp}\"\nfor = \"0s\"")),
        ("http", format!("kind = \"http\"\nurl = \"{url}/health\"\nfor = \"0s\"")),
        ("peer", format!("kind = \"peer\"\nhost = \"{tcp}\"\nwarning = {{ loss = \"20%\" }}")),
        ("right", format!("{inference}{}", Value::from(right))),
        ("wrong", format!("{inference}\"nothing that it says\"")),
        (
            "writes",
            format!("kind = \"disk_latency\"\npath = \"{}\"", std::env::temp_dir().display()),
        ),
        ("traffic", "kind = \"traffic\"\ninterface = \"lo\"".to_owned()),
    ] {
        services += &check(name, &lines);
    }
    let up = Up::start(&services).await.ready().await;
    for name in ["tcp", "http", "peer", "right", "writes", "traffic"] {
        state(&up, name, "ok").await;
    }
    let wrong = state(&up, "wrong", "critical").await;
    assert!(
        wrong["why"].as_str().is_some_and(|why| why.contains("expected `nothing that")),
        "{wrong}"
    );
    model.kill9();
    for name in ["tcp", "http", "right"] {
        let seen = state(&up, name, "critical").await;
        assert!(seen["why"].as_str().is_some_and(|why| why.contains(&tcp)), "{seen}");
    }
    model.again().await;
    for name in ["tcp", "http", "right"] {
        state(&up, name, "ok").await;
    }
}

/// NVIDIA's library as the tests of the checks have it: it replays what a file says.
fn stub_of_nvml(dir: &Path) -> std::path::PathBuf {
    let library = dir.join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../health/tests/nvml/stub.c");
    let file = format!("-DSTUB_FILE=\"{}\"", dir.join("says").display());
    let mut cc = std::process::Command::new("cc");
    let built = cc.args(["-shared", "-fPIC", &file, "-o"]).arg(&library).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler; `apt-get install gcc`");
    library
}

#[tokio::test]
async fn an_xid_isolates_who_runs_on_that_gpu_and_is_over_when_it_was_restarted() {
    let (dir, file) = place();
    let write = |text: String| {
        let new = dir.path().join("new");
        std::fs::write(&new, text).expect("it can be written");
        std::fs::rename(new, &file).expect("it can be replaced");
    };
    let idle = "devices 2\n0 temperature 50\n0 memory 1 2\n1 temperature 60\n1 memory 1 4\n";
    write(idle.to_owned());
    let library = stub_of_nvml(dir.path());
    let gpu = format!("kind = \"gpu\"\nlibrary = \"{}\"\ncritical = \"95C\"", library.display());
    let none = "kind = \"gpu\"\nlibrary = \"/no/such/libnvidia-ml.so.1\"\nfor = \"0s\"";
    let quick = "[recovery]\nprobation = \"500ms\"\npatience = \"1s\"\nbackoff = \"100ms\"\n";
    let services = supervised(2, &[]) + quick + &check("gpu", &gpu) + &check("none", none);
    let up = Up::start(&services).await.ready().await;
    let none = state(&up, "none", "unknown").await;
    assert!(none["why"].as_str().is_some_and(|why| why.contains("no GPU of NVIDIA's")), "{none}");
    state(&up, "gpu", "ok").await;
    let pids = up.pids().await;
    let runs = format!("{idle}0 pid {}\n1 pid {}\n", pids[0], pids[1]);
    write(format!("{runs}1 xid 31 1\n"));
    // Nobody is named in the settings: who has a process there is concerned.
    let event = until("the Xid is told", || async {
        let events = get(&up.admin, "/api/v1/events").await.json();
        let all = events.as_array().cloned().unwrap_or_default();
        let so = |e: &Value| e["event"] == "health" && e["to"] == "isolated";
        all.into_iter().find(so)
    })
    .await;
    assert_eq!(event["replica"], "chat-1");
    let why = event["why"].as_str().unwrap_or_default();
    let says = "check: gpu (GPU 1): Xid 31: GPU memory page fault (RESTART_APP: restart what runs";
    assert!(why.starts_with(says), "{why}");
    // It is restarted, as any replica that cannot serve; then nothing stands any more.
    let after = until("it was restarted", || async {
        let now = up.replica("chat-1", |r| r["process"]["pid"].is_u64()).await;
        now["process"]["pid"].as_u64().filter(|pid| *pid != u64::from(pids[1]))
    })
    .await;
    write(format!("{idle}0 pid {}\n1 pid {after}\n1 xid 31 1\n", pids[0]));
    up.replica("chat-1", |r| r["gate"] == "open").await;
    assert_eq!(up.pids().await[0], pids[0], "the other one has nothing to do with it");
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_check_value{check=\"gpu\",subject=\"GPU 1\",measure=\"temperature\"} 60",
        "evenkeel_check_value{check=\"gpu\",subject=\"GPU 0\",measure=\"memory\"} 0.5",
        "evenkeel_check_state{check=\"none\",subject=\"\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
