//! Process trees, as `/proc` shows them, and how to end one so that nothing escapes.
//!
//! A scan is a picture of the past: while it is taken, processes fork and die. So a
//! kill is never done once but until a scan comes back empty, and everything is
//! stopped (SIGSTOP, which cannot be ignored) before anything is killed: what is
//! stopped does not fork. A signal goes through a pid file descriptor and only after
//! the process's start time was seen to be unchanged: a number that was given to
//! somebody else meanwhile is left in peace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, identified for good: a pid is used again, a pid with its start time
/// is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Clock ticks since boot.
    pub(crate) start: u64,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// It has ended and waits to be reaped.
    pub(crate) zombie: bool,
}

/// The process with this pid, if there is one.
pub(crate) fn look(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold blanks and brackets.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(13)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    // A process whose first thread has ended while others go on shows as a zombie too.
    let zombie = matches!(state, "Z" | "X") && threads <= 1;
    Some(Process { pid, start, parent, group, session, zombie })
}

/// All processes.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(look)
        .collect()
}

/// `roots` and everything below them, each once.
pub(crate) fn with_descendants(all: &[Process], roots: &[u32]) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found: Vec<Process> =
        all.iter().filter(|process| roots.contains(&process.pid)).copied().collect();
    let mut seen: BTreeSet<u32> = found.iter().map(|process| process.pid).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        next += 1;
        for &child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.pid) {
                found.push(*child);
            }
        }
    }
    found
}

/// Everything below `pid` that still lives, `pid` itself not included.
pub(crate) fn descendants(pid: u32) -> Vec<Process> {
    let mut found = with_descendants(&all(), &[pid]);
    found.retain(|process| process.pid != pid && !process.zombie);
    found
}

/// Sends a signal to exactly this process. Whether it was there to get it.
pub(crate) fn signal(process: Process, signal: Signal) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    let handle = pidfd_open(pid, PidfdFlags::empty());
    if look(process.pid).is_none_or(|current| current.start != process.start) {
        return false;
    }
    match handle {
        Ok(handle) => pidfd_send_signal(handle, signal).is_ok(),
        // Before Linux 5.3, and in sandboxes that leave it out.
        Err(Errno::NOSYS) => rustix::process::kill_process(pid, signal).is_ok(),
        Err(_) => false,
    }
}

/// One round of killing all that `find` returns. Answers with what it found; the
/// caller repeats until that is empty.
pub(crate) fn kill_round(find: impl Fn() -> Vec<Process>) -> Vec<Process> {
    let mut stopped = BTreeSet::new();
    // Each pass finds what was forked before its parent was stopped. The bound is for
    // what cannot be signalled (another user's), which would be found for ever.
    for _ in 0..32 {
        let fresh: Vec<Process> =
            find().into_iter().filter(|process| !stopped.contains(process)).collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh {
            signal(process, Signal::STOP);
            stopped.insert(process);
        }
    }
    for &process in &stopped {
        signal(process, Signal::KILL);
    }
    stopped.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process { pid, start: 1, parent, group: 1, session: 1, zombie: false }
    }

    #[test]
    fn own_process_is_read() {
        let me = look(std::process::id()).expect("own stat");
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert!(!me.zombie && me.start > 0);
    }

    #[test]
    fn a_tree_is_collected_in_whatever_order_it_is_listed() {
        let all = [process(5, 4), process(4, 2), process(2, 1), process(3, 1), process(6, 5)];
        let found: Vec<u32> = with_descendants(&all, &[4]).iter().map(|p| p.pid).collect();
        assert_eq!(found, [4, 5, 6]);
    }

    #[test]
    fn a_loop_in_a_torn_picture_ends() {
        let all = [process(5, 4), process(4, 5)];
        assert_eq!(with_descendants(&all, &[4]).len(), 2);
    }
}
