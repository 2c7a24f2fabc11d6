//! Steps that add what can answer: more copies, another service.

use crate::support::{EVENKEEL, Model, Up, ask, chat, evenkeel, get, padding, until, until_within};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::tempdir;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a whole incident may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(40);

/// Recovery without its long waits.
const QUICK: &str = "[recovery]\nprobation = \"500ms\"\npatience = \"1s\"\nremote_patience = \"1s\"\nbackoff = \"100ms\"\n";

async fn incident(up: &Up, replica: &str, phase: &str) -> Value {
    until_within(WHOLE, &format!("an incident of {replica} that is {phase}"), || async {
        let answer = get(&up.admin, "/api/v1/incidents").await;
        let all = if answer.status == 200 { answer.json() } else { Value::Null };
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["replica"] == replica).filter(|one| one["phase"] == phase)
    })
    .await
}

async fn rows(up: &Up, incident: &Value) -> Vec<String> {
    let id = incident["id"].as_str().expect("it has a number");
    let detail = get(&up.admin, &format!("/api/v1/incidents/{id}")).await.json();
    let rows = detail["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["text"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A service of one to three copies that load alone would never raise.
fn scaled(steps: &str) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[service.scale]\nmin = 1\nmax = \
         3\ntarget_queue = 100\ndown_after = \"2s\"\n[[service.replica]]\ncommand = \
         [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \"--listen\", \
         \"127.0.0.1:{{port}}\"]\nstop_grace = \"1s\"\n{QUICK}[[playbook]]\nservice = \
         \"chat\"\n{steps}"
    )
}

#[tokio::test]
async fn more_copies_run_until_the_incident_is_over() {
    // The script holds the incident open until the test has looked.
    let dir = tempdir();
    let go = dir.path().join("go");
    let steps = format!(
        "[[playbook.step]]\naction = \"scale\"\nadd = 1\n[[playbook.step]]\naction = \
         \"script\"\nverify = \"none\"\ncommand = [\"sh\", \"-c\", \"until [ -e {} ]; do sleep \
         0.05; done\"]\n[[playbook.step]]\naction = \"restart\"\n",
        go.display()
    );
    let up = Up::start(&scaled(&steps)).await.ready().await;
    let ran = up.cli(&["incident", "plan", "chat-0"]).await;
    for part in ["start 1 more of its service", "room on the hosts", "load decides again"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let hung = up.pids().await[0];
    signal(hung, Signal::STOP);
    up.replica("chat-1", |r| r["gate"] == "open").await;
    let open = incident(&up, "chat-0", "acting").await;
    assert_eq!(open["holds"], json!(["it has at least 2 copies"]), "{open}");
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    // A gateway that dies knows from the journal what holds.
    signal(up.gateway_pid().await, Signal::KILL);
    incident(&up, "chat-0", "acting").await;
    until("another gateway says so", || async {
        let status = up.cli(&["status"]).await;
        status.out.contains("it has at least 2 copies").then_some(())
    })
    .await;
    std::fs::write(&go, "").expect("a file can be written");
    let over = incident(&up, "chat-0", "resolved").await;
    let rows = rows(&up, &over).await;
    let scaled = rows.iter().filter(|row| row.starts_with("start 1 more")).count();
    assert_eq!(scaled, 1, "{rows:?}");
    assert!(rows.contains(&"scale: 2 copies: those that were started serve".into()), "{rows:?}");
    until_within(WHOLE, "load decides again", || async {
        (up.replicas().await.len() == 1).then_some(())
    })
    .await;
}

/// A service of one model elsewhere, and one of another model that stands in for it.
fn two(model: &Model, more: &str) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"test\"]\nmax_replay = 4096\nejection = {{ time \
         = \"1s\" }}\n{more}[[service.replica]]\nurl = \"{}\"\n[[service]]\nname = \
         \"spare\"\nmodels = [\"other\"]\n[[service.replica]]\ncommand = [\"{EVENKEEL}\", \
         \"model\", \"--model\", \"other\", \"--listen\", \"127.0.0.1:{{port}}\"]\nstop_grace = \
         \"1s\"\n{QUICK}[[playbook]]\nservice = \"chat\"\n[[playbook.step]]\naction = \
         \"fail_over\"\nto = {{ service = \"spare\" }}\n",
        model.url()
    )
}

#[tokio::test]
async fn another_service_answers_until_its_own_replicas_serve() {
    let model = Model::start(&[]).await;
    let services = two(&model, "hold = { time = \"20s\" }\n");
    let up = Up::start(&services).await.ready().await;
    let ran = up.cli(&["incident", "plan", "chat-0"]).await;
    for part in ["have spare answer", "all requests of its service", "incident undo"] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    signal(model.id(), Signal::STOP);
    // This one comes while nobody is there yet, and waits.
    let early = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(early.status, 200, "{}", early.text());
    let counted = up.snapshot().await["services"][0]["requests"].clone();
    assert_eq!((&counted["ok"], &counted["cancelled"]), (&2.into(), &0.into()), "{counted}");
    let open = incident(&up, "chat-0", "escalated").await;
    assert_eq!(open["holds"], json!(["spare answers its requests"]), "{open}");
    let failed_over = async || {
        let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let reason = answer.header("x-evenkeel-reason").unwrap_or_default();
        assert_eq!(reason, "fallback=service:spare; after=failed_over");
        assert_eq!(answer.json()["model"], "other");
    };
    failed_over().await;
    let stream = ask(&up.clients, "", &chat("hello", 4, true)).await;
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "{}", stream.text());
    // Too large to be sent twice: it goes there all the same.
    let large = chat(&padding(5000), 4, false);
    let answer = ask(&up.clients, "", &large).await;
    assert!(answer.status == 200 && answer.json()["model"] == "other", "{}", answer.text());
    // What is the client's own fault is told as it is.
    let bad = ask(&up.clients, "", r#"{"model":"test","messages":7}"#).await;
    assert_eq!(bad.status, 400, "{}", bad.text());
    for (args, says) in [
        (&["status"][..], "chat: failed over, spare answers"),
        (&["why", "chat-0"], "spare answers its requests"),
    ] {
        let ran = up.cli(args).await;
        assert!(ran.out.contains(says), "{says}: {}", ran.out);
    }
    assert_eq!(get(&up.admin, "/readyz").await.status, 200, "every core service is answered");
    let metrics = get(&up.admin, "/metrics").await.text();
    let gauge = "evenkeel_service_failed_over{service=\"chat\",to=\"spare\"} 1";
    assert!(metrics.contains(gauge), "{metrics}");
    // A gateway that dies is followed by one that reads the journal.
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::KILL);
    until("another gateway is failed over", || async {
        let answer = crate::support::Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        let now = answer.json();
        let other = now["gateway"]["pid"] != gateway;
        (other && now["services"][0]["failed_over_to"] == "spare").then_some(())
    })
    .await;
    failed_over().await;
    signal(model.id(), Signal::CONT);
    let over = incident(&up, "chat-0", "resolved").await;
    let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(answer.json()["model"], "test", "it answers by itself: {}", answer.text());
    let rows = rows(&up, &over).await;
    assert!(rows.iter().any(|row| row.starts_with("have spare answer")), "{rows:?}");
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"failed_over\""), "{events}");
}

#[tokio::test]
async fn a_person_ends_it_and_begins_it() {
    let model = Model::start(&[]).await;
    let up = Up::start(&two(&model, "hold = { time = \"100ms\" }\n")).await.ready().await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    signal(model.id(), Signal::STOP);
    let open = incident(&up, "chat-0", "escalated").await;
    let id = open["id"].as_str().expect("a number").to_owned();
    assert_eq!(up.cli(&["incident", "undo", &id, "--owner", "me"]).await.code, 0);
    let twice = up.cli(&["incident", "undo", &id]).await;
    assert!(twice.code == 1 && twice.err.contains("nothing in force"), "{twice:?}");
    assert!(up.snapshot().await["services"][0]["failed_over_to"].is_null());
    let ran = up.cli(&["incident", "force", &id, "fail_over", "--owner", "me"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer = ask(&up.clients, "", &chat("hello", 4, false)).await;
    assert_eq!(answer.json()["model"], "other", "{}", answer.text());
    let rows = rows(&up, &open).await;
    assert!(rows.iter().any(|row| row.starts_with("undone by me: spare answers")), "{rows:?}");
}

#[tokio::test]
async fn check_names_what_is_wrong_with_them() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    let service = |name: &str, more: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nmodels = [\"{name}\"]\n{more}[[service.replica]]\n\
             command = [\"x\"]\nport = 9\n"
        )
    };
    let scale = "[service.scale]\nmin = 1\nmax = 3\ntarget_queue = 1\n";
    let book = |service: &str, step: &str| {
        format!("[[playbook]]\nservice = \"{service}\"\n[[playbook.step]]\n{step}\n")
    };
    let to = |name: &str| format!("action = \"fail_over\"\nto = {{ service = \"{name}\" }}");
    let (a, b) = (service("a", ""), service("b", ""));
    // The circle is closed by a second step.
    let second = format!("{}\n[[playbook.step]]\n{}", to("d"), to("a"));
    let long = [a.clone(), b.clone(), service("c", ""), service("d", "")].concat()
        + &book("a", &to("b"))
        + &book("b", &to("c"))
        + &book("c", &second);
    for (text, says) in [
        (a.clone() + &book("a", "action = \"scale\"\nadd = 1"), "add [service.scale]"),
        (service("a", scale) + &book("a", "action = \"scale\""), "give either `add`"),
        (service("a", scale) + &book("a", "action = \"scale\"\nadd = 3"), "at most 2"),
        (service("a", scale) + &book("a", "action = \"scale\"\ncopies = 1"), "more than 1"),
        (a.clone() + &book("a", "action = \"wait\"\nadd = 1"), "only for the action `scale`"),
        (a.clone() + &book("a", "action = \"fail_over\""), "who answers, as {"),
        (a.clone() + &book("a", &to("a")), "cannot stand in for itself"),
        (a.clone() + &book("a", &to("c")), "there is no service `c`"),
        (a + &b + &book("a", &to("b")) + &book("b", &to("a")), "for each other: a → b → a"),
        (long, "for each other: a → b → c → a"),
        (b.clone() + &book("b", "action = \"fail_over\"\nto = { site = \"x\" }"), "service"),
    ] {
        std::fs::write(&file, text).expect("a file can be written");
        let ran = evenkeel(&["check", &path]).await;
        let said = ran.out.clone() + &ran.err;
        assert!(
            ran.code == 2 && said.contains(says) && said.contains("bad.toml:"),
            "{says}: {said}"
        );
    }
}
