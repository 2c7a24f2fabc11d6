//! How many copies of a service run: by load, by hand, and never at a client's cost.

use crate::support::{EVENKEEL, Model, Up, ask, chat, evenkeel, get, until, until_within};
use evenkeel_testkit::{Oracle, tempdir};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How long copies may take to start or to go on a slow machine.
const WHOLE: Duration = Duration::from_secs(30);

/// A service of slow copies with two places each.
fn scaled(scale: &str) -> String {
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[service.scale]\n{scale}\n\
         [[service.replica]]\ncommand = [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \
         \"--pace\", \"20\", \"--listen\", \"127.0.0.1:{{port}}\"]\nmax_in_flight = \
         2\nstop_grace = \"1s\"\n"
    )
}

const QUICK: &str = "min = 1\nmax = 3\ntarget_queue = 1\ndown_after = \"3s\"\n";

async fn scale_of(up: &Up) -> Value {
    up.snapshot().await["services"][0]["scale"].clone()
}

/// Once so many copies take traffic, and no more are there.
async fn serving(up: &Up, copies: usize) {
    until_within(WHOLE, &format!("{copies} copies serve"), || async {
        let all = up.replicas().await;
        let open = all.iter().filter(|r| r["gate"] == "open").count();
        (open == copies && all.len() == copies).then_some(())
    })
    .await;
}

/// A client that knows what is right: as another server of the same model has it.
async fn knowing(up: &Up, prompt: &str, tokens: u32) -> Oracle {
    let model = Model::start(&[]).await;
    let right = ask(&model.address, "", &chat(prompt, tokens, false)).await.json();
    let right = right["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    assert!(!right.is_empty());
    Oracle::new(&up.url()).knowing(move |_, _| right.clone())
}

#[tokio::test]
async fn load_raises_copies_and_relief_lowers_them_without_a_failed_request() {
    let up = Up::start(&scaled(QUICK)).await.ready().await;
    assert_eq!(scale_of(&up).await["copies"], 1);
    let over = Arc::new(AtomicBool::new(false));
    let oracle = knowing(&up, "a story", 30).await;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (oracle, over) = (oracle.clone(), over.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while !over.load(Relaxed) {
                    let seen = oracle.ask("a story", 30, true).await;
                    assert!(seen.is_ok(), "{:?}", seen.verdict);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    serving(&up, 3).await;
    let scale = scale_of(&up).await;
    assert!(scale["last_why"].as_str().is_some_and(|why| why.contains("wait")), "{scale}");
    over.store(true, Relaxed);
    let mut asked = 0;
    for client in clients {
        asked += client.await.expect("every request was answered, whole and right");
    }
    assert!(asked >= 8);
    // One stream goes on all the while: what it is on must not be stopped under it.
    let oracle = knowing(&up, "a long story", 200).await;
    let long = tokio::spawn(async move { oracle.ask("a long story", 200, true).await });
    serving(&up, 1).await;
    assert!(long.await.is_ok_and(|seen| seen.is_ok()));
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"scaled\"") && events.contains("were enough"), "{events}");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("chat: copies 1 (1 to 3)"), "{}", ran.out);
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_service_copies{service=\"chat\",kind=\"wanted\"} 1",
        "evenkeel_service_copies{service=\"chat\",kind=\"max\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let incidents = get(&up.admin, "/api/v1/incidents").await.json();
    assert_eq!(incidents.as_array().map(Vec::len), Some(0), "what was scaled is no incident");
}

#[tokio::test]
async fn a_person_says_how_many_for_a_time_and_a_gateway_that_dies_changes_nothing() {
    let up = Up::start(&scaled(QUICK)).await.ready().await;
    let ran = up.cli(&["scale", "chat", "2", "--for", "8s", "--owner", "me"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    serving(&up, 2).await;
    assert_eq!(scale_of(&up).await["why"], "2 ordered by me");
    let pids = up.pids().await;
    let gateway = up.gateway_pid().await;
    evenkeel_testkit::process::signal(gateway, rustix::process::Signal::KILL);
    until("another gateway", || async {
        let answer = crate::support::Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        (answer.json()["gateway"]["pid"] != gateway).then_some(())
    })
    .await;
    serving(&up, 2).await;
    assert_eq!(up.pids().await, pids, "no copy was touched");
    serving(&up, 1).await;
    for (args, says) in [
        (["scale", "chat", "4"], "1 to 3 copies"),
        (["scale", "nobody", "2"], "no service"),
        (["scale", "chat", "many"], "or `auto`"),
    ] {
        let ran = up.cli(&args).await;
        assert!(ran.code != 0 && ran.err.contains(says), "{ran:?}");
    }
    up.rewrite(&scaled(&QUICK.replace("min = 1", "min = 2")));
    serving(&up, 2).await;
}

#[tokio::test]
async fn check_names_what_is_wrong_with_it() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    for (scale, says) in [
        ("min = 1\nmax = 3", "set one of `target_queue`"),
        ("min = 0\nmax = 3\ntarget_queue = 1", "scale.min: at least 1"),
        ("min = 3\nmax = 2\ntarget_queue = 1", "scale.max: from `min` to"),
        ("max = 2\ntarget_utilisation = 1.5", "target_utilisation: above 0 and at most 1"),
        ("max = 2\ntarget_queue = 1\ndown_after = \"0s\"", "scale.down_after"),
        ("max = 2\ntarget_queu = 1", "did you mean `target_queue`?"),
    ] {
        std::fs::write(&file, scaled(scale)).expect("a file can be written");
        let ran = evenkeel(&["check", &path]).await;
        let said = ran.out.clone() + &ran.err;
        assert!(ran.code == 2 && said.contains(says) && said.contains("bad.toml:"), "{ran:?}");
    }
}
