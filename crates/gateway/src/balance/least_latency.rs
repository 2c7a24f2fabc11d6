//! The replica that will probably answer first: mean time to first byte times the queue
//! in front of the new request (peak-EWMA as in Finagle, without its decay clock).

use super::{Candidate, PickContext, Policy, argmin};

#[derive(Debug)]
pub(super) struct LeastLatency;

impl Policy for LeastLatency {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        // One that was never measured counts as the fastest known, so that it gets tried
        // but not flooded: its queue still counts.
        let fastest =
            candidates.iter().map(|c| c.latency_us).filter(|us| *us > 0).min().unwrap_or(1);
        argmin(candidates, ctx.rng, |c| {
            let latency = if c.latency_us == 0 { fastest } else { c.latency_us };
            latency as f64 * f64::from(c.in_flight + 1) / f64::from(c.weight)
        })
    }
}
