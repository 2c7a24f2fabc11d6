//! How many attempts could begin now, as a pick would find it.

use evenkeel_domain::{Gate, Replica};
use std::sync::Arc;
use std::time::Instant;

/// The places of the replicas that a pick would look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// There is a replica that could be picked, full or not.
    pub(super) any: bool,
    /// Attempts that could begin.
    pub(super) free: u32,
    /// Attempts under way there.
    pub(super) used: u32,
    /// There are as many places as the replicas can start, and no search for more goes on.
    pub(super) settled: bool,
}

/// Classes of replicas, the best first: a worse one is looked at only when there is none of
/// a better one, full or not.
const CLASSES: [(Gate, bool); 5] = [
    (Gate::Open, false),
    (Gate::Open, true),
    (Gate::Reserve, true),
    (Gate::LastResort, true),
    (Gate::Desperate, true),
];

/// Counts the places for a request that has tried nothing yet.
pub(super) fn count(members: &[Arc<Replica>], now: Instant) -> Places {
    for (gate, busy) in CLASSES {
        let fits = |r: &&Arc<Replica>| r.live.gate() <= gate && (busy || !r.live.is_busy(now));
        let mut places = Places { settled: true, ..Places::default() };
        for replica in members.iter().filter(fits) {
            places.any = true;
            places.free = places.free.saturating_add(replica.room());
            places.used = places.used.saturating_add(replica.live.in_flight());
            places.settled &= is_settled(replica);
        }
        if places.any {
            return places;
        }
    }
    Places::default()
}

/// Whether its bound is what it can start: told by the operator, or found.
fn is_settled(replica: &Replica) -> bool {
    let (set, found) = (replica.id.max_in_flight, replica.live.room.limit());
    (set > 0 && (found == 0 || set <= found)) || (found > 0 && replica.live.room.is_found())
}
