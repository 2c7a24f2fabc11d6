//! The same client address goes to the same replica while that one takes traffic.

use super::{Candidate, PickContext, Policy, argmin, rendezvous_score};

#[derive(Debug)]
pub(super) struct SourceHash;

impl Policy for SourceHash {
    fn pick(&self, candidates: &[Candidate], ctx: &mut PickContext<'_>) -> Option<usize> {
        let source = ctx.source;
        argmin(candidates, ctx.rng, |c| -rendezvous_score(source, c))
    }
}
