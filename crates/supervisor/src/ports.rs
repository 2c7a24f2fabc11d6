//! Ports for supervised replicas.
//!
//! A replica keeps its port from start to start, while nothing holds it in between.
//! So ports come from below the range from which the kernel takes the source ports of
//! outgoing connections: one of those could otherwise sit on it at the wrong moment.
//! The search starts at a hash of the name and of where the keeper keeps its logs, so that a
//! replica tends to get the same port again after the keeper was started anew, and another
//! keeper on this host, which may look at the same moment, looks elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Free of well-known services and, by default, of source ports (from 32768 up).
const RANGE: RangeInclusive<u16> = 20_000..=31_999;

/// Hands out ports, none twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    taken: Arc<Mutex<Taken>>,
    /// What tells this keeper's searches from those of others.
    salt: Arc<[u8]>,
}

#[derive(Debug, Default)]
struct Taken {
    leased: BTreeSet<u16>,
    fixed: BTreeSet<u16>,
}

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) port: u16,
    ports: Ports,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ports.lock().leased.remove(&self.port);
    }
}

impl Ports {
    /// For the keeper that keeps its logs in this directory.
    pub(crate) fn of(directory: &Path) -> Self {
        Self { taken: Arc::default(), salt: directory.as_os_str().as_encoded_bytes().into() }
    }

    /// Sets the ports that the configuration gives away itself.
    pub(crate) fn set_fixed(&self, fixed: BTreeSet<u16>) {
        self.lock().fixed = fixed;
    }

    /// A free port, or `None` if there is none at all.
    pub(crate) fn lease(&self, name: &str) -> Option<Lease> {
        let sources = source_ports();
        let start = hash(&[&self.salt, name.as_bytes()].concat());
        let span = RANGE.end() - RANGE.start() + 1;
        let candidates = (0..span)
            .map(|i| RANGE.start() + (start % span + i) % span)
            .filter(|port| !sources.contains(port));
        let mut taken = self.lock();
        for port in candidates.chain(std::iter::repeat_with(any_free).take(64).flatten()) {
            if !taken.fixed.contains(&port) && !taken.leased.contains(&port) && is_free(port) {
                taken.leased.insert(port);
                return Some(Lease { port, ports: self.clone() });
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing listens on this port, whatever the address.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Whatever the kernel gives: when its source ports cover our range.
fn any_free() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}

fn source_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_ascii_whitespace().filter_map(|end| end.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) => low..=high,
        _ => 32_768..=60_999,
    }
}

/// FNV-1a, folded: the same on every run, which the standard hasher does not promise.
fn hash(name: &[u8]) -> u16 {
    let hash = name
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) ^ (hash & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_a_dropped_one_comes_back() {
        let ports = Ports::default();
        let first = ports.lease("a").unwrap();
        let second = ports.lease("a").unwrap();
        assert_ne!(first.port, second.port);
        let again = first.port;
        drop(first);
        assert_eq!(ports.lease("a").unwrap().port, again);
    }

    #[test]
    fn each_keeper_looks_elsewhere_and_always_there() {
        let of = |directory: &str| Ports::of(Path::new(directory)).lease("a").unwrap().port;
        let first = of("/var/lib/one");
        assert_eq!(of("/var/lib/one"), first);
        assert_ne!(of("/var/lib/two"), first);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let ports = Ports::default();
        let port = ports.lease("b").unwrap().port;
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        assert_ne!(ports.lease("b").unwrap().port, port);
    }
}
