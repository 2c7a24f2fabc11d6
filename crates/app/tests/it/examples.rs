//! The set-ups of `examples/` as they are, on ports of their own.

use crate::support::{Answer, EVENKEEL, Up, post, raw, until};
use evenkeel_testkit::{TempDir, tempdir};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ALL: [&str; 4] = ["medical", "driving", "finance", "shop"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// A copy of one, whose configuration is told where everything is.
fn copied(name: &str) -> TempDir {
    let (from, to) = (examples().join(name), tempdir());
    for file in std::fs::read_dir(&from).expect("the example is there") {
        let file = file.expect("it can be listed").path();
        if file.is_file() {
            let copy = to.path().join(file.file_name().expect("it has a name"));
            std::fs::copy(&file, copy).expect("it can be copied");
        }
    }
    let config = to.path().join("evenkeel.toml");
    let text = std::fs::read_to_string(&config).expect("it has a configuration");
    let here = |file: &str| to.path().join(file).display().to_string();
    let mut text = text
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("../classifier.py", &examples().join("classifier.py").display().to_string())
        .replace("\"evenkeel\"", &format!("\"{EVENKEEL}\""))
        .replace("state_dir = \"state\"\n", "");
    for model in ["model.json", "cautious.json"] {
        text = text.replace(&format!("\"{model}\""), &format!("\"{}\"", here(model)));
    }
    let text =
        format!("state_dir = \"{}\"\n{text}\n[admin]\nlisten = \"127.0.0.1:0\"\n", here("state"));
    std::fs::write(config, text).expect("it can be written");
    to
}

async fn up(name: &str) -> Up {
    let up = Up::from(copied(name), "").await;
    until("all take traffic", || async {
        let all = up.replicas().await;
        let ready = |gate: &serde_json::Value| gate == "open" || gate == "reserve";
        (!all.is_empty() && all.iter().all(|r| ready(&r["gate"]))).then_some(())
    })
    .await;
    up
}

async fn kill9(up: &Up, name: &str) {
    // The process that the snapshot names may have gone meanwhile.
    until(&format!("{name} is killed"), || async {
        let replica = up.replica(name, |r| r["process"]["pid"].is_u64()).await;
        let pid = i32::try_from(replica["process"]["pid"].as_u64().unwrap_or_default());
        let pid = Pid::from_raw(pid.expect("a process id")).expect("a process id");
        kill_process(pid, Signal::KILL).ok()
    })
    .await;
}

async fn infer(up: &Up, model: &str, body: &str) -> Answer {
    let request = post(&format!("/v2/models/{model}/infer"), "", body);
    raw(&up.clients, request).await.expect("it is answered")
}

fn label(answer: &Answer) -> String {
    answer.json()["outputs"][1]["data"][0].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn their_configurations_are_good() {
    for name in ALL {
        let dir = copied(name);
        let file = dir.path().join("evenkeel.toml").display().to_string();
        let ran = crate::support::evenkeel(&["check", &file]).await;
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
    }
}

#[tokio::test]
async fn a_diagnosis_is_right_whoever_dies_or_lies() {
    let up = up("medical").await;
    let case = std::fs::read_to_string(examples().join("medical/case.json")).expect("a case");
    let ask = async || infer(&up, "breast-mass", &case).await;
    assert_eq!(label(&ask().await), "malignant");
    kill9(&up, "diagnosis-0").await;
    for _ in 0..20 {
        let answer = ask().await;
        assert_eq!((answer.status, label(&answer)), (200, "malignant".into()));
    }
    up.replica("diagnosis-0", |r| r["gate"] == "open").await;

    // Its weights are replaced on disk, and it is started anew with them.
    let weights = up.dir.path().join("model.json");
    let text = std::fs::read_to_string(&weights).expect("the weights are there");
    let bias = text.split("\"bias\":").nth(1).and_then(|rest| rest.split(',').next());
    let wrong = text.replace(bias.expect("a bias"), " -1000000.0");
    std::fs::write(&weights, wrong).expect("they can be written");
    kill9(&up, "diagnosis-0").await;
    let found_out = async {
        up.replica("diagnosis-0", |r| {
            let why = r["why"].as_str().unwrap_or_default();
            r["gate"] == "shut" && why.contains("known question")
        })
        .await;
    };
    let meanwhile = async {
        loop {
            let answer = ask().await;
            assert_eq!((answer.status, label(&answer)), (200, "malignant".into()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = found_out => {}
        () = meanwhile => {}
    }
    assert_eq!(label(&ask().await), "malignant");
    // With nobody left who knows better, there is no answer rather than a wrong one.
    kill9(&up, "diagnosis-1").await;
    up.replica("diagnosis-1", |r| {
        r["gate"] == "shut" && r["why"].as_str().is_some_and(|why| why.contains("known question"))
    })
    .await;
    assert_eq!(ask().await.status, 503);
}

#[tokio::test]
async fn a_decision_comes_in_time_whoever_is_left() {
    let up = up("driving").await;
    let near = r#"{"inputs":[{"name":"state","datatype":"FP64","shape":[1,2],"data":[12,9]}]}"#;
    let far = near.replace("[12,9]", "[120,9]");
    let decided = async |body: &str| {
        let answer = infer(&up, "brake", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (label(&answer), answer.header("x-evenkeel-reason").map(str::to_owned))
    };
    assert_eq!(decided(near).await, ("brake".into(), Some("quorum".into())));
    assert_eq!(decided(&far).await.0, "go on");
    // Two still agree.
    kill9(&up, "brake-0").await;
    assert_eq!(decided(&far).await.0, "go on");
    for name in ["brake-0", "brake-1", "brake-2"] {
        kill9(&up, name).await;
    }
    let (said, by) = decided(&far).await;
    assert_eq!(said, "brake", "the careful one decides");
    assert!(by.is_some_and(|by| by.contains("service:cautious")));
    until("two agree again", || async { (decided(&far).await.0 == "go on").then_some(()) }).await;
}
