//! A replica elsewhere that has never answered is not waited for in silence.

use crate::support::{Model, Up, ask, chat, evenkeel, get, model_at, until_within};
use evenkeel_testkit::ports::free_port;
use evenkeel_testkit::{Behaviour, Replica, tempdir};
use serde_json::Value;
use std::time::Duration;

/// How long a whole incident may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(40);

fn services(good: &str, absent: &str, steps: &str) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
         \"{good}\"\n[[service.replica]]\nurl = \"{absent}\"\nstartup_deadline = \
         \"1s\"\n[recovery]\nprobation = \"500ms\"\n{steps}"
    )
}

async fn incident(up: &Up, phase: &str) -> Value {
    until_within(WHOLE, &format!("an incident that is {phase}"), || async {
        let answer = get(&up.admin, "/api/v1/incidents").await;
        let all = if answer.status == 200 { answer.json() } else { Value::Null };
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["phase"] == phase)
    })
    .await
}

#[tokio::test]
async fn a_replica_that_never_answered_calls_a_person_and_joins_once_it_does() {
    let told = Replica::start(Behaviour::Good).await;
    let good = Model::start(&[]).await;
    let address = format!("127.0.0.1:{}", free_port());
    let steps = format!(
        "[[playbook]]\nservice = \"chat\"\n[[playbook.step]]\naction = \"webhook\"\nwhen = \
         \"absent\"\nurl = \"{}/hook\"\n",
        told.url()
    );
    let up = Up::start(&services(&good.url(), &format!("http://{address}"), &steps)).await;
    let out = up.replica("chat-1", |r| r["health"] == "isolated").await;
    assert!(out["why"].as_str().is_some_and(|why| why.contains("never answered")), "{out}");
    let open = incident(&up, "escalated").await;
    assert_eq!((&open["replica"], &open["cause"]), (&"chat-1".into(), &"absent".into()), "{open}");
    assert!(open["note"].as_str().is_some_and(|note| note.contains("nothing here")), "{open}");
    assert!(told.requests().iter().any(|request| request.path == "/hook"), "it was told");
    let ran = up.cli(&["why", "chat-1"]).await;
    assert!(ran.out.contains("runs where the configuration says"), "{}", ran.out);
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    let _model = model_at(&address).await;
    up.replica("chat-1", |r| r["gate"] == "open").await;
    incident(&up, "resolved").await;
}

#[tokio::test]
async fn without_a_playbook_nothing_is_waited_for() {
    let good = Model::start(&[]).await;
    let absent = format!("http://127.0.0.1:{}", free_port());
    let up = Up::start(&services(&good.url(), &absent, "")).await;
    let open = incident(&up, "escalated").await;
    let took = open["since_unix_ms"].as_u64().zip(open["detected_unix_ms"].as_u64());
    assert!(took.is_some_and(|(at, from)| at - from < 5000), "{open}");
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let text = services(&good.url(), &absent, "").replace("\"1s\"", "\"0s\"");
    std::fs::write(&file, text).expect("a file can be written");
    let ran = evenkeel(&["check", &file.display().to_string()]).await;
    assert!(ran.code == 2 && ran.err.contains("startup_deadline: must be above zero"), "{ran:?}");
}
