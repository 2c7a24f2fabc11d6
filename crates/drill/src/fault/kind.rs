//! All faults by name, whichever way they are carried out.
//!
//! | means | carried out by | gone with the drill because |
//! |---|---|---|
//! | wire | the fault proxy, which a detour leads to | the call that holds the detour ends |
//! | guard | a process that watches a pipe from the drill | the pipe ends, and it undoes |
//! | asked | Evenkeel itself, for as long as a call is open | the call ends |

use crate::fault::asked::{self, Asked};
use crate::fault::guard::{self, GuardEntry};
use crate::fault::spec::{BadFault, split};
use crate::fault::{REGISTRY, SharedFault};

/// A fault, and who carries it out.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The fault proxy; `true` where it reads HTTP/1.
    Wire(SharedFault, bool),
    /// A guard process.
    Guard(&'static GuardEntry),
    /// Evenkeel itself.
    Asked(Asked),
}

/// What a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A process of its replica on this host.
    Process,
    /// An address of its replica.
    Address,
    /// HTTP/1 without TLS.
    PlainHttp,
}

/// A line of a list of faults.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// The name before the colon.
    pub name: &'static str,
    /// An example of the whole.
    pub example: &'static str,
    /// Where it strikes.
    pub of: &'static str,
}

/// All faults that there are.
#[must_use]
pub fn all() -> Vec<Listed> {
    let wire = REGISTRY.iter().map(|e| Listed { name: e.name, example: e.example, of: "network" });
    let guard = guard::REGISTRY.iter().map(|e| Listed {
        name: e.name,
        example: e.example,
        of: e.of.label(),
    });
    let asked =
        asked::REGISTRY.iter().map(|e| Listed { name: e.name, example: e.example, of: "evenkeel" });
    wire.chain(guard).chain(asked).collect()
}

/// A fault from text such as `stop` or `latency:50ms`.
///
/// # Errors
/// When there is no such fault or it cannot have that value.
pub fn kind(text: &str) -> Result<Kind, BadFault> {
    let (name, value) = split(text);
    if let Some(entry) = guard::REGISTRY.iter().find(|entry| entry.name == name) {
        return match (entry.check)(value) {
            Ok(()) => Ok(Kind::Guard(entry)),
            Err(why) => Err(BadFault::new(text, format!("{why} (as in `{}`)", entry.example))),
        };
    }
    if let Some(entry) = asked::REGISTRY.iter().find(|entry| entry.name == name) {
        let made = (entry.make)(value).map(Kind::Asked);
        return made
            .map_err(|why| BadFault::new(text, format!("{why} (as in `{}`)", entry.example)));
    }
    if let Some(entry) = REGISTRY.iter().find(|entry| entry.name == name) {
        return crate::fault::parse(text).map(|fault| Kind::Wire(fault, entry.reads));
    }
    let known: Vec<&str> = all().iter().map(|listed| listed.name).collect();
    Err(BadFault::new(text, format!("unknown; there are {}", known.join(" "))))
}

impl Kind {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_over_at_once(&self) -> bool {
        match self {
            Self::Wire(..) => false,
            Self::Guard(entry) => entry.at_once,
            Self::Asked(asked) => asked.is_over_at_once(),
        }
    }

    /// Whether it strikes a replica.
    #[must_use]
    pub fn is_of_replica(&self) -> bool {
        match self {
            Self::Wire(..) => true,
            Self::Guard(entry) => entry.of == guard::Of::Replica,
            Self::Asked(_) => false,
        }
    }

    /// Whether it strikes the gateway's process or its work.
    #[must_use]
    pub fn is_of_gateway(&self) -> bool {
        match self {
            Self::Wire(..) => false,
            Self::Guard(entry) => entry.of == guard::Of::Gateway,
            Self::Asked(_) => true,
        }
    }

    /// What must be there for it.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        match self {
            Self::Wire(_, true) => vec![Need::Address, Need::PlainHttp],
            Self::Wire(_, false) => vec![Need::Address],
            Self::Guard(entry) if entry.of == guard::Of::Replica => vec![Need::Process],
            Self::Guard(_) | Self::Asked(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_fault_and_every_name_is_one_s_own() {
        let all = all();
        for listed in &all {
            assert!(kind(listed.example).is_ok(), "{}", listed.example);
            assert_eq!(all.iter().filter(|other| other.name == listed.name).count(), 1);
        }
        let why = kind("explode").unwrap_err().to_string();
        assert!(why.contains("latency") && why.contains("kill") && why.contains("clock"), "{why}");
    }
}
