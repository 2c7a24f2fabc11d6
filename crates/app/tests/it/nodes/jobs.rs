//! Jobs on other hosts: run, watched and begun again where their checkpoints are.

use super::{Node, WHOLE, agent};
use crate::support::{Up, Wire, until_within};
use evenkeel_testkit::process::kill9;
use evenkeel_testkit::tempdir;
use serde_json::Value;
use std::path::Path;

/// Counts to `$3`, with a checkpoint for each step, from the one it is given; notes where it
/// began.
const COUNT: &str = r#"
dir=$1; from=$2; n=0
[ -n "$from" ] && n=$(cat "$from/step")
echo "$n" >> "$dir/starts"
while [ $n -lt $3 ]; do
  n=$((n+1)); sleep 0.2
  mkdir -p "$dir/step-$n"; echo $n > "$dir/step-$n/step"; : > "$dir/step-$n/done"
  echo "step $n"
done
"#;

fn counting(dir: &Path, node: &str, end: u32) -> String {
    let (script, dir) = (dir.join("count.sh"), dir.display());
    std::fs::write(&script, COUNT).expect("a script can be written");
    format!(
        "[[job]]\nname = \"train\"\nnode = \"{node}\"\ncommand = [\"sh\", \"{}\", \"{dir}\", \
         \"{{checkpoint}}\", \"{end}\"]\ncheckpoint = {{ dir = \"{dir}\", pattern = \"step-*\", \
         complete = \"done\", quiet = \"200ms\" }}\nstop_grace = \"500ms\"\n",
        script.display()
    )
}

/// The job, once it looks as wanted.
async fn once(up: &Up, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    until_within(WHOLE, what, || async {
        let answer = Wire::get(&up.admin, "/api/v1/snapshot").await.ok()?;
        Some(answer.json()["jobs"][0].clone()).filter(|job| so(job))
    })
    .await
}

fn has_got_on(job: &Value) -> bool {
    let step = job["checkpoint"].as_str().and_then(|name| name.strip_prefix("step-"));
    job["stage"] == "running" && job["pid"].is_u64() && step.is_some_and(|step| step != "1")
}

#[tokio::test]
async fn a_job_on_a_node_outlives_its_process_its_agent_and_its_keeper() {
    let (dir, work) = (tempdir(), tempdir());
    let mut gpu = Node::new(dir.path(), "gpu-1").await;
    let up = Up::within(dir, "", &(counting(work.path(), "gpu-1", 60) + &gpu.config())).await;
    let job = once(&up, "it gets on", has_got_on).await;
    assert_eq!(job["node"], "gpu-1");
    let pid = u32::try_from(job["pid"].as_u64().unwrap_or(0)).expect("a pid");
    kill9(pid);
    let job = once(&up, "it is begun again", |j| j["failures"] == 1 && has_got_on(j)).await;
    let from = job["from"].as_str().unwrap_or_default();
    assert!(from.contains("step-"), "from a checkpoint: {job}");
    // A person stops it, and lets it go on.
    assert_eq!(up.cli(&["job", "stop", "train"]).await.code, 0);
    once(&up, "it stops", |job| job["stage"] == "stopped").await;
    assert_eq!(up.cli(&["job", "restart", "train"]).await.code, 0);
    let before = once(&up, "it goes on", has_got_on).await["pid"].clone();
    let ran = up.cli(&["logs", "train"]).await;
    assert!(ran.code == 0 && ran.out.contains("step 2"), "{ran:?}");
    let ran = up.cli(&["status"]).await;
    assert!(ran.out.contains("job train on gpu-1"), "{}", ran.out);
    // The agent dies, and the job with it; the next one goes on from its last checkpoint.
    gpu.agent.kill9();
    gpu.agent = agent(up.dir.path(), "gpu-1", gpu.port).await;
    let job = once(&up, "it goes on there", |job| job["pid"] != before && has_got_on(job)).await;
    // The keeper dies: the job does not notice.
    let going = job["pid"].clone();
    up.process.kill9();
    let Up { process, dir, .. } = up;
    drop(process);
    let up = Up::from(dir, "").await;
    let job = once(&up, "it is seen", |job| job["stage"] == "running").await;
    assert_eq!(job["pid"], going);
    once(&up, "it reaches its end", |job| job["stage"] == "done").await;
    let text = std::fs::read_to_string(work.path().join("starts")).expect("it has started");
    let starts: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!((starts.len(), starts[0]), (4, 0), "{starts:?}");
    assert!(starts[1] >= 2 && starts.is_sorted(), "each from where it was: {starts:?}");
}
