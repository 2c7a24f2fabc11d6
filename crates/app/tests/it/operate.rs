//! What operators do: write a configuration, look, give orders, change their minds.

use crate::support::{
    EVENKEEL, Model, SOON, Up, ask, chat, evenkeel, get, service, supervised, until,
};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Oracle, Replica, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;

#[tokio::test]
async fn init_check_up() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    let file = dir.path().join("evenkeel.toml");
    let path = file.display().to_string();
    let ran = evenkeel(&["init", &path, "--url", &replica.url(), "--model", "test"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = evenkeel(&["check", &path]).await;
    assert!(ran.code == 0 && ran.out.contains("service chat: 1 replica"), "{ran:?}");
    let ran = evenkeel(&["init", &path]).await;
    assert!(ran.code == 1 && ran.err.contains("left as it is"), "{ran:?}");
    // Two tests at once cannot both have the usual ports.
    let text = std::fs::read_to_string(&file).expect("it was written");
    let text =
        text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9900", "127.0.0.1:0");
    std::fs::write(&file, text).expect("it can be edited");
    let up = Up::from(dir, "").await.ready().await;
    assert!(Oracle::new(&up.url()).ask("hello", 8, true).await.is_ok());
    let ran = up.cli(&["status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["● ready", "chat", "chat-0", "● healthy"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}

#[tokio::test]
async fn check_names_file_line_and_key_of_every_fault() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    let text = "[gateway]\nlisten = \"here\"\n\n[[service]]\nname = \"chat\"\nmodels = \
                [\"m\"]\nbalance = \"best\"\n\n[[service.replica]]\nurl = \"ftp://x\"\n";
    std::fs::write(&file, text).expect("a file can be written");
    let ran = evenkeel(&["check", &path]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    for place in
        [":2:1: gateway.listen", ":7:1: service[0].balance", ":10:1: service[0].replica[0].url"]
    {
        assert!(ran.err.contains(&format!("{path}{place}: ")), "{place}: {}", ran.err);
    }
    assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
}

#[tokio::test]
async fn the_schema_knows_every_key_of_a_first_configuration() {
    let ran = evenkeel(&["config", "schema"]).await;
    let schema: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let top: Vec<&String> = schema["properties"].as_object().expect("keys").keys().collect();
    for key in ["gateway", "admin", "log", "service", "state_dir"] {
        assert!(top.contains(&&key.to_owned()), "{key}: {top:?}");
    }
    let text = schema.to_string();
    for key in ["listen", "models", "max_attempts", "fast_interval", "copies", "bearer_file"] {
        assert!(text.contains(&format!("\"{key}\"")), "{key}");
    }
}

#[tokio::test]
async fn status_and_metrics_count_what_happened() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let before = metrics(&up).await;
    for _ in 0..5 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    }
    assert_eq!(ask(&up.clients, "", "{").await.status, 400);
    let status = until("the answers are counted", || async {
        let ran = up.cli(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&ran.out).expect("it is JSON");
        (status["services"][0]["requests"]["ok"] == 5).then_some(status)
    })
    .await;
    assert_eq!((&status["ready"], &status["gateway"]["rejected"]), (&true.into(), &1.into()));
    let chat = &status["services"][0];
    assert_eq!(
        (&chat["name"], &chat["tier"], &chat["open"]),
        (&"chat".into(), &"core".into(), &1.into())
    );
    let replica = &chat["replicas"][0];
    assert_eq!((&replica["name"], &replica["gate"]), (&"chat-0".into(), &"open".into()));
    assert_eq!((&replica["outcomes"]["ok"], &replica["in_flight"]), (&5.into(), &0.into()));
    let after = metrics(&up).await;
    let ok = |all: &BTreeMap<String, f64>, family: &str| -> f64 {
        let of = |name: &str| name.starts_with(family) && name.contains("\"ok\"");
        all.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
    };
    for family in ["evenkeel_requests_total", "evenkeel_attempts_total"] {
        let rise = ok(&after, family) - ok(&before, family);
        assert!((rise - 5.0).abs() < 0.5, "{family} rose by {rise}: {after:?}");
    }
}

/// All samples of `/metrics`, parsed as strictly as Prometheus does.
async fn metrics(up: &Up) -> BTreeMap<String, f64> {
    let answer = get(&up.admin, "/metrics").await;
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let text = answer.text();
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        let bare = name.split('{').next().unwrap_or_default();
        assert!(bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(all.insert(name.to_owned(), value).is_none(), "twice: {name}");
    }
    assert!(all.len() > 30, "{text}");
    all
}

#[tokio::test]
async fn orders_hold_survive_a_restart_and_end() {
    let replicas = [Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await];
    let services = service("", &replicas.each_ref().map(Replica::url));
    let up = Up::start(&services).await.ready().await;
    let ran = up.cli(&["replica", "drain", "chat-0", "--for", "30m", "--owner", "me"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    up.replica("chat-0", |r| r["health"] == "draining" && r["gate"] == "shut").await;
    serves_only(&up, &replicas[1], &replicas[0]).await;
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("chat-0: drain ordered by me, for 29m"), "{}", ran.out);
    // Killed without a chance to write anything down.
    let Up { mut process, dir, .. } = up;
    process.kill9();
    process.wait(crate::support::SOON).await.expect("it ends");
    let up = Up::within(dir, "", &services).await;
    up.replica("chat-1", |r| r["gate"] == "open").await;
    up.replica("chat-0", |r| r["health"] == "draining").await;
    serves_only(&up, &replicas[1], &replicas[0]).await;
    assert_eq!(up.cli(&["replica", "undrain", "chat-0"]).await.code, 0);
    up.replica("chat-0", |r| r["gate"] == "open").await;
    // One that ends by itself.
    assert_eq!(up.cli(&["replica", "isolate", "chat-1", "--for", "1s"]).await.code, 0);
    up.replica("chat-1", |r| r["health"] == "isolated").await;
    serves_only(&up, &replicas[0], &replicas[1]).await;
    up.replica("chat-1", |r| r["gate"] == "open").await;
    let ran = up.cli(&["replica", "drain", "nobody"]).await;
    assert!(ran.code == 1 && ran.err.contains("no replica `nobody`"), "{ran:?}");
    let ran = up.cli(&["replica", "restart", "chat-0"]).await;
    assert!(ran.code == 1 && ran.err.contains("not supervised"), "{ran:?}");
}

async fn serves_only(up: &Up, this: &Replica, not: &Replica) {
    let before = not.requests().len();
    for _ in 0..6 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    }
    assert_eq!(not.requests().len(), before);
    assert!(this.requests().len() >= 6);
}

#[tokio::test]
async fn isolating_moves_what_runs() {
    let replicas = [Replica::start(Behaviour::Hang).await, Replica::start(Behaviour::Hang).await];
    let settings = "probe = { kind = \"tcp\" }";
    let urls = replicas.each_ref().map(Replica::url);
    let up = Up::start(&service(settings, &urls)).await.ready().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let clients = up.clients.clone();
        asking.spawn(async move { ask(&clients, "", &chat("hello", 4, false)).await });
    }
    // Probes only connect here: what has begun was asked by a client.
    until("all are under way, and each has some", || async {
        let begun = replicas.each_ref().map(|r| r.counts().begun);
        (begun.iter().sum::<u64>() == 4 && !begun.contains(&0)).then_some(())
    })
    .await;
    let moved = replicas[0].counts().open();
    replicas[1].behave(Behaviour::Good);
    assert_eq!(up.cli(&["replica", "isolate", "chat-0"]).await.code, 0);
    for _ in 0..moved {
        let got = asking.join_next().await.expect("there are as many").expect("it ends");
        assert_eq!(got.status, 200, "{}", got.text());
    }
    let left = replicas[0].wait_for(SOON, |counts| counts.open() == 0).await;
    assert!(left.is_ok(), "{left:?}");
}

#[tokio::test]
async fn logs_show_what_a_replica_says() {
    let up = Up::start(&supervised(1, &[])).await.ready().await;
    let ran = up.cli(&["logs", "chat-0"]).await;
    assert!(ran.code == 0 && ran.out.contains("serving the built-in model"), "{ran:?}");
    let ran = up.cli(&["logs", "chat-9"]).await;
    assert!(ran.code == 1 && ran.err.contains("chat-9"), "{ran:?}");
}

#[tokio::test]
async fn a_bad_reload_changes_nothing_and_shows() {
    let replica = Replica::start(Behaviour::Good).await;
    let services = service("", &[replica.url()]);
    let up = Up::start(&services).await.ready().await;
    let generation = up.snapshot().await["gateway"]["config_generation"].clone();
    up.rewrite(&services.replace("models", "modles"));
    assert_eq!(up.cli(&["reload"]).await.code, 0);
    let refused = until("the refusal shows", || async {
        up.snapshot().await["gateway"]["reload_error"].as_str().map(str::to_owned)
    })
    .await;
    let file = up.file().display().to_string();
    assert!(refused.starts_with(&file) && refused.contains("did you mean `models`"), "{refused}");
    assert_eq!(up.snapshot().await["gateway"]["config_generation"], generation);
    let ran = up.cli(&["status"]).await;
    assert!(ran.code == 0 && ran.out.contains("▲ reload refused"), "{ran:?}");
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    up.rewrite(&service("max_body = 1000000\nmax_replay = 1000", &[replica.url()]));
    signal(up.process.id(), Signal::HUP);
    until("the good one is taken", || async {
        let gateway = up.snapshot().await["gateway"].clone();
        (gateway["config_generation"] != generation && gateway["reload_error"].is_null())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_concerns_the_gateway_alone_restarts_no_replica() {
    let services = supervised(2, &[]);
    let up = Up::start(&services).await.ready().await;
    let before = up.pids().await;
    up.rewrite(&format!("{services}weight = 2.0\n"));
    signal(up.process.id(), Signal::HUP);
    let changed = |r: &Value| r["weight"] == 2.0 && r["gate"] == "open";
    for name in ["chat-0", "chat-1"] {
        let replica = up.replica(name, changed).await;
        assert_eq!(replica["incarnation"], 1, "the same start as before: {replica}");
    }
    assert_eq!(up.pids().await, before);
    // It is still known well enough to be restarted.
    assert_eq!(up.cli(&["replica", "restart", "chat-0"]).await.code, 0);
    up.replica("chat-0", |r| r["incarnation"] == 2 && r["gate"] == "open").await;
}

#[tokio::test]
async fn a_bad_command_costs_one_replica() {
    let up = Up::start(&supervised(3, &[])).await.ready().await;
    let before = up.pids().await;
    up.rewrite(&supervised(3, &["--no-such-option"]));
    signal(up.process.id(), Signal::HUP);
    let ends = |r: &Value| r["process"]["restarts"].as_u64() >= Some(2);
    up.replica("chat-0", ends).await;
    for (number, name) in [(1, "chat-1"), (2, "chat-2")] {
        let replica = up.replica(name, |r| r["gate"] == "open").await;
        assert_eq!(replica["process"]["pid"], before[number], "{replica}");
    }
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    up.rewrite(&supervised(3, &[]));
    signal(up.process.id(), Signal::HUP);
    up.replica("chat-0", |r| r["gate"] == "open").await;
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
}

#[tokio::test]
async fn a_reload_that_needs_a_new_gateway_hands_over() {
    let replica = Replica::start(Behaviour::Good).await;
    let services = service("", &[replica.url()]);
    let up = Up::start(&services).await.ready().await;
    let before = up.gateway_pid().await;
    up.rewrite(&format!("[gateway.limits]\nheaders = 50\n{services}"));
    signal(up.process.id(), Signal::HUP);
    until("a new gateway answers", || async { (up.gateway_pid().await != before).then_some(()) })
        .await;
    let many: String = (0..60).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(ask(&up.clients, &many, &chat("hello", 4, false)).await.status, 431);
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
}

#[tokio::test]
async fn replicas_listed_in_a_file_come_and_go() {
    let replicas = [Replica::start(Behaviour::Good).await, Replica::start(Behaviour::Good).await];
    let dir = tempdir();
    let list = dir.path().join("replicas");
    let write = |lines: &[String]| {
        std::fs::write(&list, lines.join("\n")).expect("the list can be written");
    };
    write(&["# all of them".to_owned(), replicas[0].url()]);
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nfile = \"{}\"\n",
        list.display()
    );
    let up = Up::start(&services).await.ready().await;
    let urls = || async {
        let all = up.replicas().await;
        let mut urls: Vec<_> =
            all.iter().map(|r| r["url"].as_str().unwrap_or_default().to_owned()).collect();
        urls.sort();
        urls
    };
    assert_eq!(urls().await, [replicas[0].url()]);
    let mut both = replicas.each_ref().map(Replica::url);
    both.sort();
    write(&both);
    until("both are there", || async { (urls().await == both).then_some(()) }).await;
    write(&[replicas[1].url()]);
    until("the first is gone", || async { (urls().await == [replicas[1].url()]).then_some(()) })
        .await;
    let before = replicas[0].requests().len();
    for _ in 0..4 {
        assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    }
    assert_eq!(replicas[0].requests().len(), before);
    // Half a list is a mistake, not a wish.
    write(&[replicas[0].url(), "nonsense".into()]);
    let line = {
        let mut up = up;
        let line = up.process.wait_for_line("cannot be looked up", crate::support::SOON).await;
        assert_eq!(up.replicas().await.len(), 1);
        line
    };
    assert!(line.expect("the fault is logged").contains("nonsense"));
}

#[tokio::test]
async fn several_gateways_share_replicas() {
    let mut models = Vec::new();
    for _ in 0..3 {
        models.push(Model::start(&[]).await);
    }
    let services = service("", &models.iter().map(Model::url).collect::<Vec<_>>());
    let (one, two) = tokio::join!(Up::start(&services), Up::start(&services));
    let (one, two) = (one.ready().await, two.ready().await);
    let right = ask(&one.clients, "", &chat("hello", 8, false)).await.json()["choices"].clone();
    models[0].kill9();
    for up in [&one, &two] {
        for _ in 0..6 {
            let got = ask(&up.clients, "", &chat("hello", 8, false)).await;
            assert_eq!((got.status, &got.json()["choices"]), (200, &right));
        }
        up.replica("chat-0", |r| r["health"] == "isolated").await;
    }
}

#[tokio::test]
async fn upgrade_and_stop_from_the_command_line() {
    let mut up = Up::start(&supervised(1, &[])).await.ready().await;
    let (before, replicas) = (up.gateway_pid().await, up.pids().await);
    let ran = up.cli(&["upgrade", "--binary", "/no/such/binary"]).await;
    assert!(ran.code == 1 && ran.err.contains("/no/such/binary"), "{ran:?}");
    // Something that is no Evenkeel: the old gateway goes on.
    assert_eq!(up.cli(&["upgrade", "--binary", "/bin/false"]).await.code, 0);
    up.process
        .wait_for_line("the old one goes on", crate::support::SOON)
        .await
        .expect("it is told");
    assert_eq!(up.gateway_pid().await, before);
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    assert_eq!(up.cli(&["upgrade", "--binary", EVENKEEL]).await.code, 0);
    until("a new gateway answers", || async { (up.gateway_pid().await != before).then_some(()) })
        .await;
    assert_eq!(up.pids().await, replicas);
    assert_eq!(up.cli(&["stop"]).await.code, 0);
    let ended = up.process.wait(crate::support::SOON).await.expect("it ends");
    assert_eq!(ended.code(), Some(0));
}
