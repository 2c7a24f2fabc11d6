//! A guard process, from the drill's side.

use crate::fault::guard::{GuardOrder, IN_FORCE};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// A disk is filled within this time, or it is not.
const BEGINS: Duration = Duration::from_secs(30);
/// What is undone takes milliseconds.
const UNDOES: Duration = Duration::from_secs(2);

/// Its fault is there for as long as this is kept.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Starts one; its fault is there when this returns.
    pub(super) async fn start(mut command: Command, order: &GuardOrder) -> Result<Self, String> {
        let text = serde_json::to_string(order).map_err(|e| e.to_string())?;
        // A group of its own: what a terminal sends to the drill is not for it, and the end of
        // the drill tells it all it needs.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.arg(text).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|error| format!("the guard could not be started: {error}"))?;
        let said = child.stdout.take();
        let first = async {
            let mut line = String::new();
            if let Some(said) = said {
                // What cannot be read is no promise that it is there.
                let _ = BufReader::new(said).read_line(&mut line).await;
            }
            line
        };
        let line = tokio::time::timeout(BEGINS, first).await;
        match line.as_deref().map(str::trim) {
            Ok(IN_FORCE) => Ok(Self(child)),
            Ok("") => Err("the guard ended without a word".into()),
            Ok(why) => Err(why.to_owned()),
            Err(_) => Err(format!("it was not there within {BEGINS:?}")),
        }
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Has it undo its fault.
    pub(super) async fn end(mut self) {
        drop(self.0.stdin.take());
        // One that takes longer goes on undoing; it is never killed, for it alone can.
        let _ = tokio::time::timeout(UNDOES, self.0.wait()).await;
    }
}
