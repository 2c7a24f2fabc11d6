//! One after the other, by weight, without bunching: nginx's smooth weighted round robin.
//!
//! At each pick every candidate gains its weight; the one with the most is taken and pays
//! the sum. Weights 5:1:1 give a a b a c a a, not a a a a a b c.

use super::{Candidate, PickContext, Policy};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    /// Credit by replica. A lock rather than atomics: the step reads and writes all of it.
    credit: Mutex<HashMap<u64, f64>>,
}

impl Policy for RoundRobin {
    fn pick(&self, candidates: &[Candidate], _: &mut PickContext<'_>) -> Option<usize> {
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        if credit.len() > candidates.len() * 4 + 16 {
            // Replicas come and go; what is kept of the gone must not grow.
            credit.retain(|key, _| candidates.iter().any(|c| c.key == *key));
        }
        let mut best: Option<(usize, f64)> = None;
        let mut sum = 0.0;
        for (index, candidate) in candidates.iter().enumerate() {
            let weight = f64::from(candidate.weight);
            sum += weight;
            let now = credit.entry(candidate.key).or_insert(0.0);
            *now += weight;
            if best.is_none_or(|(_, most)| *now > most) {
                best = Some((index, *now));
            }
        }
        let (index, most) = best?;
        credit.insert(candidates[index].key, most - sum);
        Some(index)
    }
}
