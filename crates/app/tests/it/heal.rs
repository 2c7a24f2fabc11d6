//! What is done about replicas that do not serve: by itself, by people, and after a crash.

use crate::support::{
    Model, Up, alive, ask, chat, evenkeel, get, service, supervised, until, until_within,
};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{Behaviour, Replica, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// How long a whole incident may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(40);

/// Recovery without its long waits.
const QUICK: &str = "[recovery]\nprobation = \"500ms\"\npatience = \"1s\"\nremote_patience = \"1s\"\nbackoff = \"100ms\"\n";

async fn incidents(up: &Up) -> Vec<Value> {
    let answer = get(&up.admin, "/api/v1/incidents").await;
    if answer.status != 200 {
        return Vec::new();
    }
    answer.json().as_array().cloned().unwrap_or_default()
}

/// The newest incident of a replica, once it is so.
async fn incident(up: &Up, replica: &str, phase: &str) -> Value {
    until_within(WHOLE, &format!("an incident of {replica} that is {phase}"), || async {
        let all = incidents(up).await;
        all.into_iter().find(|one| one["replica"] == replica).filter(|one| one["phase"] == phase)
    })
    .await
}

fn id(incident: &Value) -> String {
    incident["id"].as_str().expect("it has a number").to_owned()
}

async fn pid(up: &Up, replica: &str) -> u32 {
    let found = up.replica(replica, |r| r["process"]["pid"].is_u64()).await;
    u32::try_from(found["process"]["pid"].as_u64().unwrap_or(0)).expect("a pid")
}

async fn kinds(up: &Up, id: &str) -> Vec<String> {
    let detail = get(&up.admin, &format!("/api/v1/incidents/{id}")).await.json();
    let rows = detail["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_replica_that_hangs_is_restarted_verified_and_explained() {
    let up = Up::start(&(supervised(2, &[]) + QUICK)).await.ready().await;
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::STOP);
    let over = incident(&up, "chat-0", "resolved").await;
    assert_eq!(over["cause"], "hung");
    let after = pid(&up, "chat-0").await;
    assert!(after != before && !alive(before) && alive(after));
    for time in ["detected", "isolated", "mitigated", "resolved"] {
        assert!(
            over[format!("{time}_unix_ms")].as_u64() >= over["onset_unix_ms"].as_u64(),
            "{over}"
        );
    }
    let id = id(&over);
    let kinds = kinds(&up, &id).await;
    let expected = ["confirmed", "isolated", "begin", "end", "verified", "resolved"];
    assert_eq!(kinds, expected, "{over}");
    for (args, parts) in [
        (vec!["incident", "list"], vec!["chat-0", "resolved"]),
        (vec!["incident", "show", &id], vec!["restart it (key ", "wrong", "signals", "verified"]),
        (vec!["why", "chat-0"], vec!["chat-0  healthy", "takes traffic", "what to do next"]),
        (vec!["incident", "plan", "chat-1"], vec!["next: nothing", "restart it", "a person"]),
    ] {
        let ran = up.cli(&args).await;
        for part in parts {
            assert!(ran.code == 0 && ran.out.contains(part), "{part}: {ran:?}");
        }
    }
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_actions_total{action=\"restart\",result=\"ok\"} 1",
        "evenkeel_incidents_confirmed_total 1",
        "evenkeel_incidents_mitigate_seconds_count 1",
        "evenkeel_recovery_works 1",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    audit(&up.file(), 0, "are as they were written").await;
}

#[tokio::test]
async fn the_only_replica_is_restarted_too() {
    let up = Up::start(&(supervised(1, &[]) + QUICK)).await.ready().await;
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::STOP);
    incident(&up, "chat-0", "resolved").await;
    assert!(!alive(before));
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"incident\"") && events.contains("probation"), "{events}");
}

async fn audit(config: &Path, code: i32, says: &str) {
    let ran = evenkeel(&["audit", "verify", "-c", &config.display().to_string()]).await;
    assert!(ran.code == code && (ran.out.clone() + &ran.err).contains(says), "{ran:?}");
}

#[tokio::test]
async fn a_pause_holds_what_is_done_and_ends() {
    let up = Up::start(&(supervised(2, &[]) + QUICK)).await.ready().await;
    let ran = up.cli(&["pause", "chat", "--for", "1h", "--why", "a test", "--owner", "me"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = up.cli(&["pause", "nobody", "--for", "1h", "--why", "x"]).await;
    assert!(ran.code == 1 && ran.err.contains("nobody"), "{ran:?}");
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::STOP);
    let held = incident(&up, "chat-0", "paused").await;
    assert!(
        held["held"].as_str().is_some_and(|why| why.contains("by me: a test"))
            || held["held"] == "",
        "{held}"
    );
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("chat-0") && ran.out.contains("a test"), "{}", ran.out);
    assert!(alive(before));
    assert_eq!(up.cli(&["resume", "chat"]).await.code, 0);
    incident(&up, "chat-0", "resolved").await;
    assert!(!alive(before));
}

#[tokio::test]
async fn a_process_that_ends_is_left_to_the_supervisor_and_counted() {
    let up = Up::start(&(supervised(2, &[]) + QUICK)).await.ready().await;
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::KILL);
    let over = incident(&up, "chat-0", "resolved").await;
    assert_eq!(over["cause"], "exited");
    let kinds = kinds(&up, &id(&over)).await;
    assert!(!kinds.iter().any(|kind| kind == "unverified"), "{kinds:?}");
    let metrics = get(&up.admin, "/metrics").await.text();
    assert!(!metrics.contains("action=\"restart\""), "the supervisor did it");
    // What people restart is no incident.
    for name in ["chat-0", "chat-1"] {
        let before = pid(&up, name).await;
        assert_eq!(up.cli(&["replica", "restart", name]).await.code, 0);
        up.replica(name, |r| r["gate"] == "open" && r["process"]["pid"] != before).await;
    }
    assert_eq!(incidents(&up).await.len(), 1);
}

#[tokio::test]
async fn a_replica_elsewhere_that_hangs_calls_a_person_and_comes_back_by_itself() {
    let models = [Model::start(&[]).await, Model::start(&[]).await];
    let urls = models.each_ref().map(Model::url);
    let up =
        Up::start(&(service("ejection = { time = \"1s\" }", &urls) + QUICK)).await.ready().await;
    signal(models[0].id(), Signal::STOP);
    let open = incident(&up, "chat-0", "escalated").await;
    assert!(open["next"].as_str().is_some_and(|next| next.contains("incident approve")), "{open}");
    let ran = up.cli(&["incident", "force", &id(&open), "restart"]).await;
    assert!(ran.code == 1 && ran.err.contains("cannot be restarted"), "{ran:?}");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("escalated") && ran.out.contains("approve"), "{}", ran.out);
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    signal(models[0].id(), Signal::CONT);
    incident(&up, "chat-0", "resolved").await;
}

#[tokio::test]
async fn a_gateway_killed_in_the_middle_of_a_step_is_followed_by_one_that_goes_on() {
    let dir = tempdir();
    let keys = dir.path().join("keys");
    let book = format!(
        "[[playbook]]\nservice = \"chat\"\n[[playbook.step]]\naction = \"script\"\ncommand = \
         [\"sh\", \"-c\", \"echo $EVENKEEL_ACTION_KEY $EVENKEEL_REPLICA >> {}; sleep 2\"]\nverify = \
         \"none\"\n[[playbook.step]]\naction = \"restart\"\n",
        keys.display()
    );
    let up = Up::start(&(supervised(2, &[]) + QUICK + &book)).await.ready().await;
    let stopped = pid(&up, "chat-0").await;
    signal(stopped, Signal::STOP);
    let lines = || std::fs::read_to_string(&keys).unwrap_or_default();
    until_within(WHOLE, "the script runs", || async { (!lines().is_empty()).then_some(()) }).await;
    let gateway = up.gateway_pid().await;
    signal(gateway, Signal::KILL);
    let over = incident(&up, "chat-0", "resolved").await;
    assert!(!alive(stopped) && up.gateway_pid().await != gateway);
    let said = lines();
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said.len(), 2, "begun, and gone on with: {said:?}");
    assert_eq!(said[0], said[1], "under the same key");
    assert!(said[0].ends_with(" chat-0"), "{said:?}");
    let detail = get(&up.admin, &format!("/api/v1/incidents/{}", id(&over))).await.json();
    let epochs: Vec<u64> = detail["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["epoch"].as_u64())
        .collect();
    assert!(epochs.first() == Some(&1) && epochs.last() == Some(&2), "{epochs:?}");
    audit(&up.file(), 0, "are as they were written").await;
}

#[tokio::test]
async fn an_incident_outlives_the_whole_of_evenkeel() {
    let models = [Model::start(&[]).await, Model::start(&[]).await];
    let urls = models.each_ref().map(Model::url);
    let services = service("ejection = { time = \"1s\" }", &urls) + QUICK;
    let up = Up::start(&services).await.ready().await;
    signal(models[0].id(), Signal::STOP);
    let open = incident(&up, "chat-0", "escalated").await;
    let ran = up.cli(&["pause", "all", "--for", "1h", "--why", "kept"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let Up { mut process, dir, .. } = up;
    process.kill9();
    process.wait(crate::support::SOON).await.expect("it ends");
    let up = Up::within(dir, "", &services).await;
    let same = incident(&up, "chat-0", "escalated").await;
    assert_eq!((&same["id"], &same["onset_unix_ms"]), (&open["id"], &open["onset_unix_ms"]));
    let ran = up.cli(&["incident", "list"]).await;
    assert!(ran.out.contains("all is paused") && ran.out.contains("kept"), "{}", ran.out);
    signal(models[0].id(), Signal::CONT);
    incident(&up, "chat-0", "resolved").await;
    let journal = up.dir.path().join("state/store/journal.db");
    audit(&up.file(), 0, "are as they were written").await;
    // Somebody makes it look better than it was.
    let config = up.file();
    assert_eq!(up.cli(&["stop"]).await.code, 0);
    let Up { mut process, dir, .. } = up;
    process.wait(crate::support::SOON).await.expect("it ends");
    let mut text = std::fs::read(&journal).expect("the journal is there");
    let said: Vec<usize> =
        text.windows(9).enumerate().filter(|(_, w)| w == b"escalated").map(|(n, _)| n).collect();
    assert!(!said.is_empty());
    for at in said {
        text[at..at + 9].copy_from_slice(b"succeeded");
    }
    std::fs::write(&journal, text).expect("it can be written");
    audit(&config, 1, "was changed").await;
    drop(dir);
}

#[tokio::test]
async fn too_much_at_once_stops_everything_until_a_person_says_so() {
    let settings = "restarts = 9\nstorm_targets = 1\nstorm_percent = 0\n";
    let up = Up::start(&(supervised(4, &[]) + QUICK + settings)).await.ready().await;
    for name in ["chat-0", "chat-1"] {
        signal(pid(&up, name).await, Signal::KILL);
    }
    until("the storm stop", || async {
        let recovery = up.snapshot().await["recovery"].clone();
        recovery["storm"]["why"].is_string().then_some(())
    })
    .await;
    let hung = pid(&up, "chat-2").await;
    signal(hung, Signal::STOP);
    let open = incident(&up, "chat-2", "storm").await;
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("reset-storm"), "{}", ran.out);
    assert!(alive(hung), "{open}");
    assert_eq!(up.cli(&["incident", "reset-storm"]).await.code, 0);
    incident(&up, "chat-2", "resolved").await;
    assert!(!alive(hung));
}

#[tokio::test]
async fn a_person_is_told_asked_and_heard() {
    let told = Replica::start(Behaviour::Good).await;
    let book = format!(
        "[[playbook]]\nservice = \"chat\"\n[[playbook.step]]\naction = \"webhook\"\nurl = \
         \"{}/hook\"\n[[playbook.step]]\naction = \"ask\"\ntext = \"may it be restarted?\"\n\
         [[playbook.step]]\naction = \"restart\"\n",
        told.url()
    );
    let up = Up::start(&(supervised(2, &[]) + QUICK + &book)).await.ready().await;
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::STOP);
    let asked = incident(&up, "chat-0", "escalated").await;
    assert!(asked["note"].as_str().is_some_and(|note| note.contains("may it be")), "{asked}");
    let hook = told.requests().into_iter().find(|request| request.path == "/hook");
    let hook = hook.expect("the webhook was called");
    let key = hook.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    assert_eq!(key, Some(format!("{}/0-webhook/0@1", id(&asked)).as_str()));
    let body: Value = serde_json::from_slice(&hook.body).expect("the incident as JSON");
    assert_eq!((&body["target"], &body["cause"]), (&"chat-0".into(), &"hung".into()));
    let ran = up.cli(&["incident", "plan", "chat-0"]).await;
    assert!(ran.out.contains("restart it"), "{ran:?}");
    assert!(alive(before));
    assert_eq!(up.cli(&["incident", "approve", &id(&asked), "--owner", "me"]).await.code, 0);
    incident(&up, "chat-0", "resolved").await;
    assert!(!alive(before));
}

#[tokio::test]
async fn without_a_journal_nothing_is_healed_and_everything_is_served() {
    let dir = tempdir();
    let store = dir.path().join("state/store");
    std::fs::create_dir_all(&store).expect("a directory can be made");
    std::fs::write(store.join("journal.db"), "this is no journal at all".repeat(99))
        .expect("a file");
    let up = Up::within(dir, "", &(supervised(2, &[]) + QUICK)).await.ready().await;
    let ran = up.cli(&["status"]).await;
    assert!(ran.code == 0 && ran.out.contains("nothing is healed"), "{}", ran.out);
    let before = pid(&up, "chat-0").await;
    signal(before, Signal::STOP);
    up.replica("chat-0", |r| r["gate"] != "open").await;
    assert_eq!(ask(&up.clients, "", &chat("hello", 4, false)).await.status, 200);
    assert!(alive(before));
    // Once somebody has mended it, it goes on by itself.
    std::fs::remove_file(store.join("journal.db")).expect("it can be moved away");
    incident(&up, "chat-0", "resolved").await;
    assert!(!alive(before));
}

#[tokio::test]
async fn check_names_what_is_wrong_with_a_playbook() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    let text = format!(
        "{}[recovery]\nbackoff = \"10m\"\n[[playbook]]\nservice = \"caht\"\n[[playbook.step]]\n\
         action = \"reload\"\n[[playbook.step]]\naction = \"restart\"\ntimeout = \"0s\"\n",
        service("", &["http://127.0.0.1:9".into()])
    );
    std::fs::write(&file, &text).expect("a file can be written");
    let ran = evenkeel(&["check", &path]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    for part in [
        "recovery.backoff: longer",
        "playbook[0].service: there is no service `caht`",
        "playbook[0].step[0].path: is needed",
        "playbook[0].step[1].timeout: must be above zero",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    std::fs::write(&file, text.replace("\"reload\"", "\"reboot\"")).expect("a file can be written");
    let ran = evenkeel(&["check", &path]).await;
    assert!(ran.code == 2 && ran.err.contains("unknown variant `reboot`"), "{ran:?}");
}
