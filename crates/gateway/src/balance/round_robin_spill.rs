//! Round robin while it is calm; above a threshold the least loaded replica.

use super::least_requests::LeastRequests;
use super::round_robin::RoundRobin;
use super::{Candidate, PickContext, Policy};

#[derive(Debug)]
pub(super) struct RoundRobinSpill {
    turn: RoundRobin,
    above: u32,
}

impl RoundRobinSpill {
    pub(super) fn new(above: u32) -> Self {
        Self { turn: RoundRobin::default(), above }
    }
}

impl Policy for RoundRobinSpill {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        let chosen = self.turn.pick(candidates, ctx)?;
        if candidates[chosen].in_flight > self.above {
            return LeastRequests.pick(candidates, ctx);
        }
        Some(chosen)
    }
}
