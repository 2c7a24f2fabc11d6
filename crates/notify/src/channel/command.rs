//! A command of the operator's: the message as JSON on its standard input, the main parts in
//! its environment. Exit code 0 is a delivery, 75 (`EX_TEMPFAIL`) and a signal mean not now,
//! any other means never.

use super::{Channel, Sending, retry};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::{json, text};
use evenkeel_domain::alert::Message;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Bytes of output that are read: a line or a few, for people.
const OUTPUT: u64 = 2048;
/// "Temporary failure; the user is invited to retry" (sysexits.h).
const NOT_NOW: i32 = 75;

struct Run {
    command: Vec<String>,
}

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    if settings.command.first().is_none_or(String::is_empty) {
        return Err(("command", "is needed: program and arguments, as a list".into()));
    }
    Ok(Arc::new(Run { command: settings.command.clone() }))
}

impl Channel for Run {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            match run(&self.command, message).await {
                Ok(answer) => answer,
                Err(error) => {
                    Answer::Permanent(format!("{}: {error}; check `command`", self.place()))
                }
            }
        })
    }

    fn place(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }
}

/// Ends the whole group when the time is up, children of the command included.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be over already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(command: &[String], message: &Message) -> std::io::Result<Answer> {
    let Some((program, args)) = command.split_first() else {
        return Ok(Answer::Permanent("no command is given".into()));
    };
    let (title, body) = (text::title(message), text::body(message));
    let first = message.alerts.first().map(|alert| &alert.finding);
    let mut child = Command::new(program)
        .args(args)
        .env("EVENKEEL_ALERT_MESSAGE", &message.id)
        .env("EVENKEEL_ALERT_KIND", message.kind.label())
        .env("EVENKEEL_ALERT_TITLE", &title)
        .env("EVENKEEL_ALERT_SEVERITY", first.map_or("", |finding| finding.severity.label()))
        .env("EVENKEEL_ALERT_SERVICE", first.map_or("", |finding| &finding.service))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group(pid);
    let input = json::message(message, &title, &body).to_string();
    let said = talk(&mut child, input).await;
    let status = child.wait().await?;
    group.0 = None;
    let said = said.trim().replace('\n', "; ");
    let said = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    Ok(match status.code() {
        Some(0) => Answer::Delivered(said),
        Some(NOT_NOW) | None => retry(said),
        Some(_) => Answer::Permanent(format!("{program}: {said}")),
    })
}

/// Gives it the message and reads what it says. One that does not read must not stop us.
async fn talk(child: &mut Child, input: String) -> String {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let hear = async {
        let mut said = Vec::new();
        if let Some(out) = stdout {
            let mut first = out.take(OUTPUT);
            let _ = first.read_to_end(&mut said).await;
            // The rest is read and dropped, so that it does not stop at a full pipe.
            let _ = tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await;
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    tokio::join!(give, hear).1
}
