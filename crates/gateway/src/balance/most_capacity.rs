//! The replica with the most free places. Where no bound is set, its weight stands for
//! its size: 64 places each.

use super::{Candidate, PickContext, Policy, argmin};

/// Places of a replica of weight 1 without a bound of its own.
const ASSUMED_PLACES: f64 = 64.0;

#[derive(Debug)]
pub(super) struct MostCapacity;

impl Policy for MostCapacity {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        argmin(candidates, ctx.rng, |c| {
            let places = f64::from(c.weight)
                * match c.max_in_flight {
                    0 => ASSUMED_PLACES,
                    bound => f64::from(bound),
                };
            let load = f64::from(c.in_flight);
            // Beyond its places a replica comes after all that have some left.
            if load < places { load - places } else { load / places }
        })
    }
}
