//! Another way to a replica, for as long as somebody holds it.
//!
//! ```text
//!  gateway, probes ── straight ─────────────────────► replica
//!                  └─ while a lease is held ─► there ─┘
//! ```
//!
//! A drill puts its fault proxy there. Whoever asks for the way holds a [`Lease`]; when that
//! is dropped, however its owner ended, the way is straight again.

use crate::clock;
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where connections to a replica go instead, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The address.
    pub to: SocketAddr,
    /// Who asked for it.
    pub owner: String,
    /// What for.
    pub why: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
}

/// The way to one replica.
#[derive(Debug, Default)]
pub struct Detour {
    via: ArcSwapOption<Via>,
    turns: AtomicU32,
}

/// Somebody else holds the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{owner}` holds the way to it already")]
pub struct Held {
    /// Who.
    pub owner: String,
}

/// Keeps a replica's connections on another way until it is dropped.
#[derive(Debug)]
pub struct Lease(Arc<Detour>);

impl Detour {
    /// Where connections go instead, if anywhere.
    #[must_use]
    pub fn via(&self) -> Option<Arc<Via>> {
        self.via.load_full()
    }

    /// Rises whenever the way changes: a connection of before goes where it should not.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns.load(Relaxed)
    }

    /// Leads connections to `to` from now on.
    ///
    /// # Errors
    /// When another lease is held.
    pub fn hold(self: &Arc<Self>, to: SocketAddr, owner: &str, why: &str) -> Result<Lease, Held> {
        let since_unix_ms = clock::unix_millis();
        let via = Via { to, owner: owner.into(), why: why.into(), since_unix_ms };
        let before = self.via.compare_and_swap(&None::<Arc<Via>>, Some(Arc::new(via)));
        match before.as_ref() {
            Some(held) => Err(Held { owner: held.owner.clone() }),
            None => {
                self.turns.fetch_add(1, Relaxed);
                Ok(Lease(self.clone()))
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.via.store(None);
        self.0.turns.fetch_add(1, Relaxed);
    }
}

/// The ways to all replicas, by name: a replica that is made anew by a reload keeps its own.
#[derive(Debug, Default)]
pub struct Detours(Mutex<BTreeMap<String, Weak<Detour>>>);

impl Detours {
    /// The way to this replica.
    #[must_use]
    pub fn of(&self, replica: &str) -> Arc<Detour> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(replica).and_then(Weak::upgrade) {
            return known;
        }
        // Names come and go with reloads: none is kept that nobody has.
        all.retain(|_, way| way.strong_count() > 0);
        let new = Arc::new(Detour::default());
        all.insert(replica.to_owned(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    #[test]
    fn a_way_is_held_by_one_and_straight_after() {
        let ways = Detours::default();
        let way = ways.of("chat-0");
        let lease = way.hold(to(), "drill", "latency").unwrap();
        let seen = ways.of("chat-0");
        assert_eq!((seen.via().unwrap().to, seen.turns()), (to(), 1));
        assert_eq!(way.hold(to(), "another", "").unwrap_err(), Held { owner: "drill".into() });
        assert!(ways.of("chat-1").via().is_none());
        drop(lease);
        assert_eq!((seen.via(), seen.turns()), (None, 2));
    }

    #[test]
    fn a_lease_outlives_the_replica_that_a_reload_replaces() {
        let ways = Detours::default();
        let lease = ways.of("chat-0").hold(to(), "drill", "cut").unwrap();
        let made_anew = ways.of("chat-0");
        assert!(made_anew.via().is_some());
        drop(lease);
        assert!(made_anew.via().is_none());
        drop(made_anew);
        let _other = ways.of("other");
        assert_eq!(ways.0.lock().unwrap().len(), 1);
    }
}
