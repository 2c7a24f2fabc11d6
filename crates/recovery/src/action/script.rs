//! Runs a command of the operator's. It is told the key in `EVENKEEL_ACTION_KEY`: after a
//! crash of ours it may be run again under the same one.

use super::{Action, Blast, Task, not_mine};
use evenkeel_domain::incident::{Action as Does, Hands, Reach, Seen};
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Bytes of output that are read and kept for the journal: a line or a few.
const OUTPUT: u64 = 2048;

/// See the module.
pub(super) struct Script;

impl Action for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn blast(&self) -> Blast {
        Blast::Outside
    }

    fn undo(&self) -> Option<&'static str> {
        None
    }

    /// Nothing shows it; the script can tell by the key.
    fn is_done(&self, _: &Task, _: &Seen) -> bool {
        false
    }

    fn act<'a>(&'a self, task: &'a Task, _: &'a dyn Hands) -> Reach<'a, String> {
        Box::pin(async move {
            let Does::Script { command } = &task.step.action else {
                return not_mine(self.name());
            };
            run(command, task).await
        })
    }
}

/// Ends the whole group when the time is up, children of the script included.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be over already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(command: &[String], task: &Task) -> Result<String, String> {
    let (program, args) = command.split_first().ok_or("no command is given")?;
    let incident = &task.incident;
    let ahead = incident.ahead.iter().flat_map(|ahead| {
        [
            ("EVENKEEL_CHECK", ahead.check.clone()),
            ("EVENKEEL_SUBJECT", ahead.subject.clone()),
            ("EVENKEEL_MEASURE", ahead.measure.clone()),
            ("EVENKEEL_AT_UNIX_MS", ahead.at.to_string()),
        ]
    });
    let mut child = Command::new(program)
        .args(args)
        .envs(ahead)
        .env("EVENKEEL_ACTION_KEY", &task.key)
        .env("EVENKEEL_INCIDENT", &incident.id)
        .env("EVENKEEL_REPLICA", &incident.target)
        .env("EVENKEEL_SERVICE", &incident.service)
        .env("EVENKEEL_CAUSE", incident.cause.label())
        .env("EVENKEEL_WHY", &incident.why)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group(pid);
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        let mut first = out.take(OUTPUT);
        // What it says is for people; whether it can be read changes nothing.
        let _ = first.read_to_end(&mut said).await;
        // The rest is read and dropped, so that it does not stop at a full pipe.
        let mut rest = first.into_inner();
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
    let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
    group.0 = None;
    let said = String::from_utf8_lossy(&said);
    let said = said.trim().replace('\n', "; ");
    match (status.success(), said.is_empty()) {
        (true, true) => Ok("succeeded".into()),
        (true, false) => Ok(said),
        (false, true) => Err(status.to_string()),
        (false, false) => Err(format!("{status}: {said}")),
    }
}
