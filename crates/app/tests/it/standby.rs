//! Standbys of each level under load: who takes over, how soon, and that nobody notices.

use crate::support::{EVENKEEL, Model, Up, ask, chat, evenkeel, get, until, until_within};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Oracle, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a whole promotion may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(40);
const QUICK: &str = "[recovery]\nprobation = \"500ms\"\nremote_patience = \"60s\"\n";
const TOKENS: u32 = 20;

/// One active replica somewhere, and a standby that Evenkeel runs.
fn with_standby(active: &str, level: &str, options: &[&str]) -> String {
    let options: String = options.iter().map(|option| format!(", \"{option}\"")).collect();
    let calls = match level {
        "warm" => "load = { path = \"/wake_up\" }\nunload = { path = \"/sleep\" }\n",
        _ => "",
    };
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[service.standby]\nclean = \"2s\"\n\
         [[service.replica]]\nurl = \"{active}\"\n[[service.replica]]\nrole = \"standby\"\n\
         standby = \"{level}\"\n{calls}command = [\"{EVENKEEL}\", \"model\", \"--model\", \
         \"test\", \"--listen\", \"127.0.0.1:{{port}}\"{options}]\nstop_grace = \"2s\"\n{QUICK}"
    )
}

/// Clients that ask all the time and accept nothing but right answers.
struct Clients {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    all: Vec<JoinHandle<()>>,
}

impl Clients {
    async fn start(up: &Up, active: &Model) -> Self {
        let right = ask(&active.address, "", &chat("a story", TOKENS, false)).await.json();
        let right = right["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        assert!(!right.is_empty());
        let right = right.to_owned();
        let oracle = Oracle::new(&up.url()).knowing(move |_, _| right.clone());
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let all = (0..4).map(|n| {
            let (oracle, over, asked) = (oracle.clone(), over.clone(), asked.clone());
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let seen = oracle.ask("a story", TOKENS, n % 2 == 0).await;
                    assert!(seen.is_ok(), "{:?} after {:?}", seen.verdict, seen.waited);
                    asked.fetch_add(1, Relaxed);
                }
            })
        });
        let all = all.collect();
        let clients = Self { over, asked, all };
        clients.go_on().await;
        clients
    }

    /// Until some more were answered.
    async fn go_on(&self) {
        let before = self.asked.load(Relaxed);
        until_within(WHOLE, "requests are answered", || async {
            let failed = self.all.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a request failed");
            (self.asked.load(Relaxed) >= before + 20).then_some(())
        })
        .await;
    }

    async fn end(self) -> u32 {
        self.over.store(true, Relaxed);
        for client in self.all {
            client.await.expect("every request was answered, whole and right");
        }
        self.asked.load(Relaxed)
    }
}

async fn duty(up: &Up, duty: &str) -> Value {
    until_within(WHOLE, &format!("the standby is {duty}"), || async {
        let all = up.replicas().await;
        all.into_iter().find(|r| r["name"] == "chat-1" && r["duty"] == duty)
    })
    .await
}

async fn answered(up: &Up) -> u64 {
    let all = up.replicas().await;
    let standby = all.iter().find(|r| r["name"] == "chat-1").expect("it is shown");
    standby["outcomes"]["ok"].as_u64().unwrap_or_default()
}

/// Once the promotion was timed: how long it took, as the metrics say.
async fn timed(up: &Up, level: &str) -> f64 {
    let line = |kind: &str| {
        format!("evenkeel_promotion_seconds_{kind}{{service=\"chat\",level=\"{level}\"}} ")
    };
    until_within(WHOLE, "the promotion is timed", || async {
        let metrics = get(&up.admin, "/metrics").await.text();
        let value =
            |kind: &str| metrics.lines().find_map(|l| l.strip_prefix(&line(kind))?.parse().ok());
        (value("count") == Some(1.0)).then(|| value("sum").unwrap_or(f64::NAN))
    })
    .await
}

/// The active one is killed for good, the standby takes over, and goes back afterwards.
async fn takes_over(level: &str, options: &[&str], least: f64) {
    let mut active = Model::start(&["--pace", "5"]).await;
    let up = Up::start(&with_standby(&active.url(), level, options)).await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let rests = if level == "hot" { ("healthy", "reserve") } else { ("stopped", "shut") };
    let standby = up
        .replica("chat-1", |r| {
            (r["health"].as_str(), r["gate"].as_str()) == (Some(rests.0), Some(rests.1))
        })
        .await;
    assert_eq!((&standby["role"], &standby["duty"]), (&"standby".into(), &"standby".into()));
    if level == "warm" {
        up.replica("chat-1", |r| r["process"]["phase"] == "ready").await;
    }
    let clients = Clients::start(&up, &active).await;
    assert_eq!(answered(&up).await, 0, "a standby gets no traffic while the others serve");
    active.kill9();
    duty(&up, "promoted").await;
    clients.go_on().await;
    let took = timed(&up, level).await;
    println!("{level}: first answer {took:.3} s after the loss of the only active replica");
    assert!((least..30.0).contains(&took), "{took}");
    let list = get(&up.admin, "/api/v1/incidents").await.json();
    let id = list[0]["id"].as_str().expect("an incident").to_owned();
    until("the step is written down", || async {
        let shown = up.cli(&["incident", "show", &id]).await.out;
        shown.contains("promote: chat-1 serves in its place").then_some(())
    })
    .await;
    let status = up.cli(&["status"]).await.out;
    assert!(status.contains("chat: 1 of 1 on duty") && status.contains(level), "{status}");
    // It goes back, and nothing is lost by that either.
    active.again().await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let back = duty(&up, "standby").await;
    assert_eq!(back["gate"], rests.1, "{back}");
    clients.go_on().await;
    up.replica("chat-1", |r| r["in_flight"] == 0).await;
    let before = answered(&up).await;
    clients.go_on().await;
    assert_eq!(answered(&up).await, before);
    println!("{level}: {} requests, none failed", clients.end().await);
    let events = get(&up.admin, "/api/v1/events").await.text();
    for word in ["promoting", "promoted", "demoting"] {
        assert!(events.contains(&format!("\"to\":\"{word}\"")), "{word}: {events}");
    }
}

#[tokio::test]
async fn a_hot_standby_takes_over_at_once() {
    takes_over("hot", &[], 0.0).await;
}

#[tokio::test]
async fn a_warm_standby_loads_its_model_while_requests_are_held() {
    takes_over("warm", &["--load-time", "400"], 0.4).await;
}

#[tokio::test]
async fn a_warm_standby_may_begin_without_its_model() {
    takes_over("warm", &["--load-time", "400", "--unloaded"], 0.4).await;
}

#[tokio::test]
async fn a_cold_standby_is_started_while_requests_are_held() {
    takes_over("cold", &["--load-time", "400"], 0.4).await;
}

#[tokio::test]
async fn a_gateway_killed_in_the_middle_of_a_promotion_is_followed_by_one_that_goes_on() {
    for level in ["warm", "cold"] {
        let active = Model::start(&[]).await;
        let up = Up::start(&with_standby(&active.url(), level, &["--load-time", "2500"])).await;
        up.replica("chat-0", |r| r["gate"] == "open").await;
        up.replica("chat-1", |r| r["health"] == "stopped").await;
        active.kill9();
        duty(&up, "promoting").await;
        let gateway = up.gateway_pid().await;
        signal(gateway, Signal::KILL);
        duty(&up, "promoted").await;
        assert_ne!(up.gateway_pid().await, gateway);
        let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(answer.status, 200, "{level}: {}", answer.text());
        let list = get(&up.admin, "/api/v1/incidents").await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "the same incident goes on: {list}");
    }
}

#[tokio::test]
async fn a_person_promotes_and_sends_back() {
    let active = Model::start(&[]).await;
    let up = Up::start(&with_standby(&active.url(), "warm", &["--unloaded"])).await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    up.replica("chat-1", |r| r["process"]["phase"] == "ready").await;
    let ran = up.cli(&["replica", "promote", "chat-0"]).await;
    assert!(ran.code == 1 && ran.err.contains("no standby"), "{ran:?}");
    assert_eq!(up.cli(&["replica", "promote", "chat-1", "--owner", "me"]).await.code, 0);
    let promoted = duty(&up, "promoted").await;
    assert_eq!(promoted["gate"], "open");
    assert_eq!(up.snapshot().await["services"][0]["standby"]["serving"], 2);
    // It survives a gateway, and stays for longer than what goes back by itself.
    signal(up.gateway_pid().await, Signal::KILL);
    duty(&up, "promoted").await;
    until("both take traffic", || async {
        (up.snapshot().await["services"][0]["standby"]["serving"] == 2).then_some(())
    })
    .await;
    assert_eq!(up.cli(&["replica", "demote", "chat-1", "--owner", "me"]).await.code, 0);
    let back = duty(&up, "standby").await;
    assert_eq!(back["gate"], "shut");
    let ran = up.cli(&["replica", "demote", "chat-1"]).await;
    assert!(ran.code == 1 && ran.err.contains("standby already"), "{ran:?}");
}

#[tokio::test]
async fn a_standby_that_cannot_load_is_passed_over_for_the_next() {
    let active = Model::start(&[]).await;
    let mut config = with_standby(&active.url(), "warm", &["--unloaded"]);
    config = config.replace("/wake_up", "/no/such/path");
    let cold = format!(
        "[[service.replica]]\nrole = \"standby\"\nstandby = \"cold\"\ncommand = [\"{EVENKEEL}\", \
         \"model\", \"--model\", \"test\", \"--listen\", \"127.0.0.1:{{port}}\"]\n{QUICK}"
    );
    let up = Up::start(&config.replace(QUICK, &cold)).await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    up.replica("chat-1", |r| r["process"]["phase"] == "ready").await;
    active.kill9();
    let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = up.replica("chat-2", |r| r["duty"] == "promoted").await;
    assert_eq!(second["level"], "cold");
    duty(&up, "standby").await;
}

#[tokio::test]
async fn check_names_what_is_wrong_with_standbys() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    let good = with_standby("http://127.0.0.1:9", "warm", &[]);
    for (from, to, says) in [
        (
            "url = \"http://127.0.0.1:9\"",
            "role = \"standby\"\nurl = \"http://127.0.0.1:9\"",
            "only standbys",
        ),
        ("load = { path = \"/wake_up\" }\n", "", "load: is needed for a warm standby"),
        ("\"/wake_up\"", "\"wake_up\"", "begins with `/`"),
        ("standby = \"warm\"", "standby = \"hot\"", "only with `standby = \"warm\"`"),
        ("role = \"standby\"\n", "", "only for a standby"),
        ("standby = \"warm\"", "standby = \"lukewarm\"", "bad.toml"),
        ("clean = \"2s\"", "keep = 0", "keep: at least 1"),
        (
            "[service.standby]",
            "[service.scale]\nmax = 2\ntarget_queue = 1\n[service.standby]",
            "a scaled service has no standbys",
        ),
        (
            "[[service.replica]]\nurl = \"http://127.0.0.1:9\"",
            "[[service.replica]]\nrole = \"standby\"\nstandby = \"cold\"\nurl = \"http://127.0.0.1:9\"\n[[service.replica]]\nurl = \"http://127.0.0.1:8\"",
            "give it a `command`",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&file, good.replacen(from, to, 1)).expect("a file can be written");
        let ran = evenkeel(&["check", &path]).await;
        let said = ran.out.clone() + &ran.err;
        assert!(
            ran.code == 2 && said.contains(says) && said.contains("bad.toml:"),
            "{says}: {ran:?}"
        );
    }
}
