//! The replica with the fewest attempts under way for its weight.
//!
//! A full scan, not a choice of two: with up to 64 replicas it gives a lower tail when
//! some are slow.

use super::{Candidate, PickContext, Policy, argmin};

#[derive(Debug)]
pub(super) struct LeastRequests;

impl Policy for LeastRequests {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        argmin(candidates, ctx.rng, cost)
    }
}

/// Load per weight, counting the request that is about to come.
pub(super) fn cost(candidate: &Candidate) -> f64 {
    f64::from(candidate.in_flight + 1) / f64::from(candidate.weight)
}
