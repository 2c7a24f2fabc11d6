//! Jobs: commands that reach their end, whatever happens to them on the way.

use crate::support::{SOON, Up, evenkeel, get, until_within};
use evenkeel_testkit::process::signal;
use evenkeel_testkit::{TempDir, tempdir};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// How long a whole job may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(60);

/// Counts to `$3`, with a checkpoint for each step, from the one it is given; notes where it
/// began. `$4` is waited for before the end.
const COUNT: &str = r#"
dir=$1; from=$2; end=$3; n=0
[ -n "$from" ] && n=$(cat "$from/step")
echo "$n $EVENKEEL_CHECKPOINT" >> "$dir/starts"
while [ $n -lt $end ]; do
  n=$((n+1)); sleep 0.2
  mkdir -p "$dir/step-$n"; echo $n > "$dir/step-$n/step"; : > "$dir/step-$n/done"
  echo "step $n"
done
if [ -n "$4" ]; then
  n=$((n+1)); mkdir -p "$dir/step-$n"; echo half > "$dir/step-$n/step"
  while [ ! -e "$4" ]; do sleep 0.1; echo tick; done
fi
"#;

fn counting(dir: &Path, end: u32, wait_for: &str, checkpoint: &str, more: &str) -> String {
    let (script, dir) = (dir.join("count.sh"), dir.display());
    std::fs::write(&script, COUNT).expect("a script can be written");
    format!(
        "[[job]]\nname = \"train\"\ncommand = [\"sh\", \"{}\", \"{dir}\", \"{{checkpoint}}\", \
         \"{end}\", \"{wait_for}\"]\ncheckpoint = {{ dir = \"{dir}\", pattern = \"step-*\", quiet \
         = \"300ms\", {checkpoint} }}\nstop_grace = \"500ms\"\n{more}\n",
        script.display()
    )
}

async fn job(up: &Up) -> Value {
    let answer = crate::support::Wire::get(&up.admin, "/api/v1/snapshot").await;
    answer.map_or(Value::Null, |answer| answer.json()["jobs"][0].clone())
}

/// The job, once it looks as wanted.
async fn once(up: &Up, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    until_within(WHOLE, what, || async {
        let job = job(up).await;
        so(&job).then_some(job)
    })
    .await
}

fn pid(job: &Value) -> u32 {
    job["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it runs")
}

/// Where each start began.
fn starts(dir: &TempDir) -> Vec<u64> {
    let text = std::fs::read_to_string(dir.path().join("starts")).unwrap_or_default();
    let first = |line: &str| line.split(' ').next().and_then(|n| n.parse().ok());
    text.lines().filter_map(first).collect()
}

#[tokio::test]
async fn a_job_killed_twice_and_stopped_once_reaches_its_end_from_its_checkpoints() {
    let work = tempdir();
    let more = "hang_after = \"2s\"\n";
    let up = Up::start(&counting(work.path(), 30, "", "progress = \"step \"", more)).await;
    for (how, failures) in [(Signal::KILL, 1), (Signal::KILL, 2), (Signal::STOP, 3)] {
        let before = once(&up, "it is told", |job| job["checkpoint"].is_string()).await;
        let before = before["checkpoint"].clone();
        let got_on = once(&up, "it gets on", |job| {
            job["stage"] == "running" && job["checkpoint"] != before && job["pid"].is_u64()
        })
        .await;
        signal(pid(&got_on), how);
        once(&up, "it is seen", |job| job["failures"] == failures).await;
    }
    let done = once(&up, "it is done", |job| job["stage"] == "done").await;
    assert_eq!((&done["starts"], &done["checkpoint"]), (&4.into(), &"step-30".into()), "{done}");
    let failures = done["last_failures"].as_array().cloned().unwrap_or_default();
    assert!(failures[0]["how"].as_str().is_some_and(|how| how.contains("SIGKILL")), "{done}");
    assert!(failures[2]["how"].as_str().is_some_and(|how| how.contains("hung")), "{done}");
    let begun = starts(&work);
    assert_eq!((begun.len(), begun[0]), (4, 0));
    for (failure, from) in failures.iter().zip(&begun[1..]) {
        assert_eq!(failure["checkpoint"], format!("step-{from}"), "{done} {begun:?}");
    }
    // What was lost: at least the two seconds in which it hung, and not the work before.
    let lost = done["lost_ms"].as_u64().unwrap_or_default();
    let sum: u64 = failures.iter().filter_map(|f| f["lost_ms"].as_u64()).sum();
    assert!(lost == sum && (2000..20_000).contains(&lost), "{done}");
    for (args, says) in [
        (vec!["job", "list"], "train  done  starts 4  failures 3"),
        (vec!["job", "show", "train"], "failed with step-"),
        (vec!["status"], "job train  ● done"),
        (vec!["logs", "train"], "step 30"),
    ] {
        let ran = up.cli(&args).await;
        assert!(ran.code == 0 && ran.out.contains(says), "{says}: {ran:?}");
    }
    let metrics = get(&up.admin, "/metrics").await.text();
    for line in [
        "evenkeel_job_stage{job=\"train\",stage=\"done\"} 1",
        "evenkeel_job_failures_total{job=\"train\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("\"event\":\"job\"") && events.contains("hung"), "{events}");
    // What is done stays done.
    let Up { mut process, dir, .. } = up;
    process.kill9();
    process.wait(SOON).await.expect("it ends");
    let up = Up::from(dir, "").await;
    once(&up, "it is still done", |job| job["stage"] == "done").await;
    assert_eq!(starts(&work).len(), 4);
}

#[tokio::test]
async fn a_checkpoint_that_is_broken_or_half_written_is_not_gone_on_from() {
    let work = tempdir();
    let go = work.path().join("go");
    let up =
        Up::start(&counting(work.path(), 3, &go.display().to_string(), "complete = \"done\"", ""))
            .await;
    let whole = |job: &Value| job["checkpoint"] == "step-3" && work.path().join("step-4").exists();
    let running = once(&up, "three count, a fourth is begun", whole).await;
    // One bit of the last one.
    std::fs::write(work.path().join("step-3/step"), "7\n").expect("it can be written");
    signal(pid(&running), Signal::KILL);
    let again =
        once(&up, "it goes on", |job| job["starts"] == 2 && job["stage"] == "running").await;
    assert_eq!((&again["from"], &again["broken"][0]), (&"step-2".into(), &"step-3".into()));
    once(&up, "it is written anew and counts", whole).await;
    assert_eq!(starts(&work), [0, 2]);
    // The whole of Evenkeel is killed: the next one goes on where this one was.
    let Up { mut process, dir, .. } = up;
    process.kill9();
    process.wait(SOON).await.expect("it ends");
    let up = Up::from(dir, "").await;
    once(&up, "it goes on again", |job| job["starts"] == 3 && job["stage"] == "running").await;
    std::fs::write(&go, "").expect("a file can be written");
    once(&up, "it is done", |job| job["stage"] == "done").await;
    assert_eq!(starts(&work), [0, 2, 3]);
}

#[tokio::test]
async fn a_job_that_always_fails_is_given_up_with_its_cause() {
    let text = "[[job]]\nname = \"train\"\ncommand = [\"sh\", \"-c\", \"echo no such \
                data set; exit 3\"]\nbackoff = \"100ms\"\n";
    let up = Up::start(text).await;
    let left = once(&up, "it is given up", |job| job["stage"] == "given_up").await;
    let why = left["why"].as_str().unwrap_or_default();
    assert!(why.contains("3 times in a row before its first checkpoint"), "{left}");
    assert!(why.contains("exited with code 3"), "{left}");
    assert_eq!((&left["starts"], &left["last_lines"][0]), (&3.into(), &"no such data set".into()));
    assert_eq!(up.cli(&["job", "restart", "train"]).await.code, 0);
    once(&up, "it is tried anew", |job| job["starts"] == 6 && job["stage"] == "given_up").await;
    up.rewrite("[[job]]\nname = \"train\"\ncommand = [\"sleep\", \"600\"]\n");
    signal(up.process.id(), Signal::HUP);
    // The new command counts from the next start on.
    until_within(WHOLE, "the reload", || async {
        (up.snapshot().await["gateway"]["config_generation"] == 2).then_some(())
    })
    .await;
    assert_eq!(up.cli(&["job", "restart", "train"]).await.code, 0);
    let running = once(&up, "it runs", |job| job["pid"].is_u64() && job["starts"] == 7).await;
    assert_eq!(up.cli(&["job", "stop", "train"]).await.code, 0);
    once(&up, "it is stopped", |job| job["stage"] == "stopped").await;
    assert!(!crate::support::alive(pid(&running)));
    let ran = up.cli(&["job", "stop", "nobody"]).await;
    assert!(ran.code == 1 && ran.err.contains("no job `nobody`"), "{ran:?}");
}

#[tokio::test]
async fn check_names_what_is_wrong_with_it() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let path = file.display().to_string();
    for (job, says) in [
        ("command = [\"sh\", \"{checkpoint}\"]", "would never be anything"),
        ("command = []", "its `command` is empty"),
        ("command = [\"sh\"]\ncheckpoint = { dir = \"x\" }", "must be absolute"),
        ("command = [\"sh\"]\nhang_after = \"0s\"", "above zero"),
        ("command = [\"sh\"]\nhang_aftr = \"1s\"", "did you mean `hang_after`?"),
        ("command = [\"sh\"]\n[[job]]\nname = \"train\"\ncommand = [\"sh\"]", "is taken"),
    ] {
        let text = format!("[[job]]\nname = \"train\"\n{job}\n");
        std::fs::write(&file, text).expect("a file can be written");
        let ran = evenkeel(&["check", &path]).await;
        let said = ran.out.clone() + &ran.err;
        assert!(ran.code == 2 && said.contains(says) && said.contains("bad.toml:"), "{ran:?}");
    }
}
