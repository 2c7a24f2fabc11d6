//! Commands of the operator's: a plugin of Nagios' as it is, or one that prints JSON.
//!
//! Exit codes are Nagios': 0 ok, 1 warning, 2 critical, 3 unknown. The command has a process
//! group of its own, which is killed when its time is up.

mod said;

use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong};
use evenkeel_domain::check::{CheckSettings, CheckState};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Bytes of output that are read; a plugin of Nagios' has 8 KiB.
const OUTPUT: u64 = 64 << 10;

pub(super) const KIND: Kind = Kind {
    name: "script",
    keys: &["command", "env", "cwd"],
    measures: &[],
    // As Nagios has it: a script that hangs says nothing.
    silence: CheckState::Unknown,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    if settings.command.first().is_none_or(String::is_empty) {
        return Err(("command".into(), "is missing: the program and its arguments".into()));
    }
    Ok(Box::new(Script {
        name: settings.name.clone(),
        command: settings.command.clone(),
        env: settings.env.clone(),
        cwd: settings.cwd.clone(),
    }))
}

#[derive(Debug)]
struct Script {
    name: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
}

/// Ends the whole group, children of the script included.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be over already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Script {
    async fn run(&self) -> Result<Reading, Trouble> {
        let Some((program, args)) = self.command.split_first() else {
            return Err(Trouble::NoData("no command is given".into()));
        };
        let no_data = |what: &str, error: std::io::Error| {
            Trouble::NoData(format!("{program} {what}: {error}; correct `command`"))
        };
        let mut command = Command::new(program);
        command.args(args).envs(&self.env).env("EVENKEEL_CHECK", &self.name);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| no_data("cannot be run", error))?;
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut group = Group(id);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = tokio::join!(first(out), first(err));
        let status = child.wait().await.map_err(|error| no_data("was lost", error))?;
        group.0 = None;
        let text = if out.trim().is_empty() { &err } else { &out };
        let Some(code) = status.code() else {
            let text = format!("{program} was killed ({status}): {text}");
            return Err(Trouble::NoData(text));
        };
        let (state, message, values) = said::read(code, text);
        let part = Part { said: Some((state, message)), values, ..Part::default() };
        Ok(Reading { parts: vec![part] })
    }
}

impl Source for Script {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(self.run())
    }
}

/// The beginning of what it prints; the rest is read and dropped, so that it does not stop
/// at a full pipe.
async fn first(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut said = Vec::new();
    if let Some(from) = from {
        let mut first = from.take(OUTPUT);
        // What cannot be read was not said.
        let _ = first.read_to_end(&mut said).await;
        let _ = tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&said).into_owned()
}
