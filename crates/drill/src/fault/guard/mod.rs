//! Faults of processes and disks, each carried out by a process of its own.
//!
//! ```text
//!  drill ──pipe──► guard ── signals ──► process
//!    ✗ killed       │ the pipe ends
//!                   └─ undoes, and ends
//! ```
//!
//! The guard is the same binary. It undoes what it did when its pipe ends, when it is told to
//! end, and when its time is over: whichever comes first. To undo is to drop the [`Harm`].

mod corrupt;
mod cpu;
mod disk_full;
mod disk_slow;
mod kill;
mod main;
mod memory;
pub mod process;
mod slow;
mod stop;

pub use main::{GuardOrder, IN_FORCE, guard_main};
pub use process::Identity;

use process::Process;
use std::fmt;
use std::time::Duration;

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The process of a replica.
    Replica,
    /// The gateway's process.
    Gateway,
    /// This host.
    Host,
}

impl Of {
    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Replica => "process",
            Self::Gateway => "evenkeel",
            Self::Host => "host",
        }
    }
}

/// Something that is wrong as long as this lives. Dropping it undoes it.
pub trait Harm: Send {
    /// Does the next part; in how long it wants to be called again, if at all.
    ///
    /// # Errors
    /// When it can go on no more.
    fn work(&mut self) -> Result<Option<Duration>, String> {
        Ok(None)
    }
}

/// One of them by name.
pub struct GuardEntry {
    /// The name before the colon.
    pub name: &'static str,
    /// An example of the whole.
    pub example: &'static str,
    /// What it strikes.
    pub of: Of,
    /// Whether there is nothing to undo.
    pub at_once: bool,
    /// Whether what comes after the colon will do.
    pub check: fn(&str) -> Result<(), String>,
    /// Begins.
    pub begin: Begin,
}

/// Begins a fault, from what comes after the colon.
pub type Begin = fn(&str, Vec<Process>) -> Result<Box<dyn Harm>, String>;

impl fmt::Debug for GuardEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardEntry").field(&self.example).finish()
    }
}

/// All of them.
pub const REGISTRY: &[GuardEntry] = &[
    entry("kill", "kill", Of::Replica, true, kill::check, kill::begin),
    entry("stop", "stop", Of::Replica, false, stop::check, stop::begin),
    entry("slow", "slow:80%", Of::Replica, false, slow::check, slow::begin),
    entry("gateway-kill", "gateway-kill", Of::Gateway, true, kill::check, kill::begin),
    entry("gateway-stop", "gateway-stop", Of::Gateway, false, stop::check, stop::begin),
    entry("cpu", "cpu:2", Of::Host, false, cpu::check, cpu::begin),
    entry("memory", "memory:256m", Of::Host, false, memory::check, memory::begin),
    entry(
        "disk-full",
        "disk-full:/tmp,size=64m",
        Of::Host,
        false,
        disk_full::check,
        disk_full::begin,
    ),
    entry("disk-slow", "disk-slow:/tmp", Of::Host, false, disk_slow::check, disk_slow::begin),
    entry(
        "corrupt",
        "corrupt:/etc/hostname,copy=/tmp/hostname.damaged",
        Of::Host,
        false,
        corrupt::check,
        corrupt::begin,
    ),
];

const fn entry(
    name: &'static str,
    example: &'static str,
    of: Of,
    at_once: bool,
    check: fn(&str) -> Result<(), String>,
    begin: Begin,
) -> GuardEntry {
    GuardEntry { name, example, of, at_once, check, begin }
}
