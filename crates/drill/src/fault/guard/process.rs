//! Processes that cannot be mistaken for others.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A process and its descendants are no more than so many.
const MOST: usize = 1024;
/// Clock ticks in a second, as `/proc` counts them on every Linux.
const TICKS: u64 = 100;
/// How far two clocks of the same age may be apart.
const SLACK: Duration = Duration::from_secs(3);

/// A process and when it was started: a number that was given anew is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// Ticks since the machine's start.
    pub started: u64,
}

impl Identity {
    /// The process that has this number now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> Result<Self, String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_err(|_| format!("there is no process {pid} on this host"))?;
        // The name in parentheses may hold anything; what follows it does not.
        let started = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19));
        let started = started.and_then(|ticks| ticks.parse().ok());
        let started = started.ok_or_else(|| format!("/proc/{pid}/stat cannot be read"))?;
        Ok(Self { pid, started })
    }

    /// The process of this number, if it has run as long as it was said to: on another host,
    /// or after a restart, it has not.
    ///
    /// # Errors
    /// When it is another one.
    pub fn aged(pid: u32, age: Duration) -> Result<Self, String> {
        let found = Self::of(pid)?;
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
        let runs = uptime - found.started as f64 / TICKS as f64;
        if (runs - age.as_secs_f64()).abs() > SLACK.as_secs_f64() {
            return Err(format!(
                "process {pid} of this host is not the one that is meant: it has run for \
                 {runs:.0} s, and that one for {:.0} s; run the drill on the host of the replica",
                age.as_secs_f64()
            ));
        }
        Ok(found)
    }
}

/// A process that is held by a descriptor: signals reach it or nobody.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of it.
    ///
    /// # Errors
    /// When it is gone, or another has its number.
    pub fn hold(identity: Identity) -> Result<Self, String> {
        let pid = identity.pid;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| format!("{pid} is no process"))?;
        let fd = pidfd_open(number, PidfdFlags::empty())
            .map_err(|error| format!("process {pid}: {error}"))?;
        // Looked at once it is held: it can be no other from here on.
        match Identity::of(pid)? == identity {
            true => Ok(Self { pid, fd }),
            false => Err(format!("process {pid} has been replaced by another one")),
        }
    }

    /// Sends it a signal. That it is gone is no error.
    ///
    /// # Errors
    /// When it may not be.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(Errno::PERM) => Err(format!(
                "process {} belongs to another user: run the drill as that user or as root",
                self.pid
            )),
            Err(error) => Err(format!("process {}: {error}", self.pid)),
        }
    }

    /// It and what it has started.
    #[must_use]
    pub fn tree(self) -> Vec<Self> {
        let mut all = vec![self];
        let mut at = 0;
        while at < all.len() && all.len() < MOST {
            let children = children(all[at].pid);
            let held =
                children.into_iter().filter_map(|pid| Self::hold(Identity::of(pid).ok()?).ok());
            all.extend(held.collect::<Vec<_>>());
            at += 1;
        }
        all
    }
}

fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
    };
    let text: Vec<String> = threads.map(of_thread).collect();
    text.iter().flat_map(|line| line.split_whitespace()).filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_given_anew_is_another_process() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(Process::hold(own).is_ok());
        let other = Identity { started: own.started + 1, ..own };
        assert!(Process::hold(other).unwrap_err().contains("replaced"));
        let year = Duration::from_secs(366 * 86_400);
        assert!(Identity::aged(own.pid, year).unwrap_err().contains("not the one"));
        assert!(Identity::of(u32::MAX).is_err());
    }
}
