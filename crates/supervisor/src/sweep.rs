//! What the keeper does for a guard that was killed: its orphans fall to the keeper,
//! which is a subreaper too, and the keeper kills them.
//!
//! They are known by three marks: the guard's session, the command's process group,
//! and the variable that names this start in their environment. A daemon leaves the
//! first two behind but not the third, and whatever is below a marked process is taken
//! with it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use tokio::time::{Instant, sleep};

use crate::guard::label_of;
use crate::tree::{self, Process};
use crate::wire::RUN_VARIABLE;

const PATIENCE: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_millis(10);

/// Makes this process the one that its descendants' orphans fall to, instead of the
/// machine's init. [`crate::Supervisor::new`] does this too; a keeper that starts
/// other things first calls it first.
///
/// # Errors
/// Whatever the kernel says; only where `prctl` is forbidden.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// A guard that is gone, and what it had started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub(crate) guard: u32,
    /// The guard's start time: nothing of its is older.
    pub(crate) start: u64,
    pub(crate) command: Option<u32>,
}

/// Kills and reaps all that a lost guard has left. Answers with what would not die.
pub(crate) async fn sweep(lost: Lost) -> Vec<u32> {
    let give_up = Instant::now() + PATIENCE;
    let mark = format!("{RUN_VARIABLE}={}", label_of(lost.guard, lost.start));
    let mut seen = BTreeSet::new();
    loop {
        let all = tree::all();
        seen.extend(all.iter().filter(|process| lost.owns(process)).map(|process| process.pid));
        let round = tree::kill_round(|| lost.find(mark.as_bytes()));
        seen.extend(round.iter().map(|process| process.pid));
        seen.retain(|&pid| !reaped(pid));
        if round.is_empty() && !seen.iter().any(|&pid| is_our_zombie(pid)) {
            return Vec::new();
        }
        if Instant::now() >= give_up {
            return round.iter().map(|process| process.pid).collect();
        }
        sleep(ROUND).await;
    }
}

impl Lost {
    fn owns(&self, process: &Process) -> bool {
        process.pid != self.guard
            && process.start >= self.start
            && (process.session == self.guard || Some(process.group) == self.command)
    }

    fn find(&self, mark: &[u8]) -> Vec<Process> {
        let all = tree::all();
        let roots: Vec<u32> = all
            .iter()
            .filter(|process| self.owns(process) || self.is_marked(process, mark))
            .map(|process| process.pid)
            .collect();
        let mut found = tree::with_descendants(&all, &roots);
        found.retain(|process| !process.zombie);
        found
    }

    fn is_marked(&self, process: &Process, mark: &[u8]) -> bool {
        process.start >= self.start
            && process.pid != self.guard
            && fs::read(format!("/proc/{}/environ", process.pid))
                .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|entry| entry == mark))
    }
}

/// Reaps exactly this child, if it is ours and has ended. Never any other: those have
/// owners who wait for them.
fn reaped(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    matches!(waitpid(pid, WaitOptions::NOHANG), Ok(Some(_)))
}

fn is_our_zombie(pid: u32) -> bool {
    tree::look(pid).is_some_and(|process| process.zombie && process.parent == std::process::id())
}
