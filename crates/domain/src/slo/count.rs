//! Which requests count, and as what. Decided here and nowhere else.
//!
//! | how it ended | counts as |
//! |---|---|
//! | `Ok` | good |
//! | `Backpressure`: refused as busy or for want of a replica | bad |
//! | `Expired` by the service's deadline | bad |
//! | `Expired` by the caller's own, shorter deadline | nothing while a replica takes traffic; bad while none does |
//! | `ReplicaFault`, `NetworkFault` | bad |
//! | `ClientFault`: also keys, limits and what makes no sense | nothing |
//! | `Cancelled`: the client left | nothing |
//!
//! What this process asks by itself (lines of batches) counts as nothing: it has all day, and
//! asks again.

use crate::outcome::Outcome;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a request counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Valid and answered well.
    Good,
    /// Valid and not.
    Bad,
    /// Not valid: says nothing of the service.
    Aside,
}

/// What else decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances {
    /// This process asked.
    pub internal: bool,
    /// The caller's own deadline was shorter than the service's.
    pub own_deadline: bool,
    /// A replica takes traffic.
    pub open: bool,
}

/// What a request counts as that ended so.
#[must_use]
pub const fn verdict(outcome: Outcome, so: Circumstances) -> Verdict {
    if so.internal {
        return Verdict::Aside;
    }
    match outcome {
        Outcome::Ok => Verdict::Good,
        Outcome::ClientFault | Outcome::Cancelled => Verdict::Aside,
        // With nobody there to answer, no deadline is too short.
        Outcome::Expired if so.own_deadline && so.open => Verdict::Aside,
        Outcome::Backpressure
        | Outcome::Expired
        | Outcome::ReplicaFault(_)
        | Outcome::NetworkFault(_) => Verdict::Bad,
    }
}

/// What was counted since the process began.
#[derive(Debug, Default)]
pub struct Counted {
    good: AtomicU64,
    bad: AtomicU64,
    in_time: AtomicU64,
}

impl Counted {
    /// Counts one request whose answer began after `began` (`None`: it never did). `within` is
    /// the latency objective; without one every good answer is in time.
    pub fn count(&self, verdict: Verdict, began: Option<Duration>, within: Option<Duration>) {
        match verdict {
            Verdict::Aside => {}
            Verdict::Bad => {
                self.bad.fetch_add(1, Relaxed);
            }
            Verdict::Good => {
                self.good.fetch_add(1, Relaxed);
                if within.is_none_or(|within| began.is_some_and(|began| began <= within)) {
                    self.in_time.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Good, bad, in time.
    #[must_use]
    pub fn read(&self) -> [u64; 3] {
        // In time first: it must never exceed what is good.
        let in_time = self.in_time.load(Relaxed);
        [self.good.load(Relaxed), self.bad.load(Relaxed), in_time]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{ALL, NetworkFault, ReplicaFault};

    const UP: Circumstances = Circumstances { internal: false, own_deadline: false, open: true };

    #[test]
    fn each_outcome_counts_as_the_table_says() {
        let own = Circumstances { own_deadline: true, ..UP };
        for (outcome, so, right) in [
            (Outcome::Ok, UP, Verdict::Good),
            (Outcome::ClientFault, UP, Verdict::Aside),
            (Outcome::Cancelled, UP, Verdict::Aside),
            (Outcome::Backpressure, UP, Verdict::Bad),
            (Outcome::Expired, UP, Verdict::Bad),
            (Outcome::Expired, own, Verdict::Aside),
            (Outcome::Expired, Circumstances { open: false, ..own }, Verdict::Bad),
            (Outcome::ReplicaFault(ReplicaFault::Truncated), own, Verdict::Bad),
            (Outcome::NetworkFault(NetworkFault::Reset), UP, Verdict::Bad),
        ] {
            assert_eq!(verdict(outcome, so), right, "{outcome} {so:?}");
        }
        for outcome in ALL {
            let so = Circumstances { internal: true, ..UP };
            assert_eq!(verdict(outcome, so), Verdict::Aside);
        }
    }

    #[test]
    fn late_answers_are_good_and_not_in_time() {
        let counted = Counted::default();
        let (second, two) = (Duration::from_secs(1), Some(Duration::from_secs(2)));
        counted.count(Verdict::Good, Some(second), two);
        counted.count(Verdict::Good, Some(3 * second), two);
        counted.count(Verdict::Good, None, two);
        counted.count(Verdict::Bad, Some(second), two);
        counted.count(Verdict::Aside, Some(second), two);
        assert_eq!(counted.read(), [3, 1, 1]);
        counted.count(Verdict::Good, None, None);
        assert_eq!(counted.read(), [4, 1, 2]);
    }
}
