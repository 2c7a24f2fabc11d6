//! The same key goes to the same replica, unless that would load it too far above the
//! mean: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016),
//! over rendezvous scores instead of a ring.

use super::{Candidate, PickContext, Policy, argmin, rendezvous_score};

#[derive(Debug)]
pub(super) struct ConsistentHash {
    /// How far above its share of the load a replica may go.
    bound: f64,
}

impl ConsistentHash {
    pub(super) fn new(bound: f64) -> Self {
        Self { bound: bound.max(0.0) }
    }
}

impl Policy for ConsistentHash {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        let load: f64 = candidates.iter().map(|c| f64::from(c.in_flight)).sum::<f64>() + 1.0;
        let weights: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        let key = ctx.key;
        argmin(candidates, ctx.rng, |c| {
            let share = load * f64::from(c.weight) / weights;
            let limit = (share * (1.0 + self.bound)).ceil();
            if f64::from(c.in_flight + 1) > limit {
                // Full: comes after all that are not, whose costs are below zero.
                return f64::from(c.in_flight + 1) / f64::from(c.weight);
            }
            -rendezvous_score(key, c)
        })
    }

    fn wants_key(&self) -> bool {
        true
    }
}
