//! The keeper's end of one guard.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::sweep::Lost;
use crate::tree;
use crate::wire::{Launch, Order, Report};

/// How long a guard may take to read its launch, and to end after its last report.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);

/// A running guard. Dropping it closes the lifeline, which ends all below it.
#[derive(Debug)]
pub(crate) struct GuardProcess {
    child: Child,
    lifeline: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    pid: u32,
    start: u64,
}

impl GuardProcess {
    pub(crate) async fn start(command: &[OsString], launch: &Launch) -> io::Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::other("no guard command was configured"))?;
        let mut child = Command::new(program)
            .args(args)
            .arg(&launch.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let gone = || io::Error::other("the guard ended at once");
        let pid = child.id().ok_or_else(gone)?;
        let start = tree::look(pid).map_or(0, |guard| guard.start);
        let mut lifeline = child.stdin.take().ok_or_else(gone)?;
        let reports = BufReader::new(child.stdout.take().ok_or_else(gone)?).lines();
        let mut line = serde_json::to_vec(launch)?;
        line.push(b'\n');
        timeout(GUARD_PATIENCE, lifeline.write_all(&line)).await??;
        Ok(Self { child, lifeline, reports, pid, start })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The next report; `None` once the guard is gone. May be cancelled.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        loop {
            let line = self.reports.next_line().await.ok().flatten()?;
            match serde_json::from_str(&line) {
                Ok(report) => return Some(report),
                Err(error) => tracing::warn!(%error, line, "a guard said something unknown"),
            }
        }
    }

    /// Gives an order. A guard that is gone or does not read is found out elsewhere.
    pub(crate) async fn order(&mut self, order: Order) {
        let _ = timeout(GUARD_PATIENCE, self.lifeline.write_all(order.line())).await;
    }

    /// Waits for the end of a guard that has said its last, or whose pipe has closed.
    pub(crate) async fn reap(&mut self) {
        if timeout(GUARD_PATIENCE, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the guard itself: only when it does not do as it is told.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// What to look for when the guard has ended without having cleaned up.
    pub(crate) fn lost(&self, command: Option<u32>) -> Lost {
        Lost { guard: self.pid, start: self.start, command }
    }
}
