//! Choosing one candidate.

use crate::hash;
use crate::ngram::Candidate;
use crate::token::{EOT, Id};

/// How far a context may lift a candidate at temperature 0. A pure arg-max of a small
/// n-gram soon runs in circles; a lift that depends on everything read so far breaks
/// the circle, and makes a lost or doubled token change all that comes after it.
const LIFT: f32 = 2.5;
/// Below this a temperature is zero.
const COLD: f32 = 1e-4;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// 0 is deterministic, 1 the model's own distribution.
    pub(crate) temperature: f32,
    /// Keep the best candidates that together reach this share.
    pub(crate) top_p: f32,
    /// Keep this many at most.
    pub(crate) top_k: usize,
}

impl Choice {
    /// Whether the seed plays no part.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature < COLD || self.top_k == 1
    }

    /// Chooses from `from` (best first); `draw` is the hash of the context, and of the
    /// seed unless greedy. `None` if nothing but a barred end of text is on offer.
    pub(crate) fn pick(&self, from: &[Candidate], draw: u64, bar_end: bool) -> Option<Id> {
        let open = |candidate: &&Candidate| !(bar_end && candidate.id == EOT);
        if self.is_greedy() {
            lifted(from.iter().filter(open), draw)
        } else {
            self.drawn(from, draw, bar_end)
        }
    }

    fn drawn(&self, from: &[Candidate], draw: u64, bar_end: bool) -> Option<Id> {
        let open = |candidate: &&Candidate| !(bar_end && candidate.id == EOT);
        let power = 1.0 / self.temperature;
        let weigh = |weight: f32| if self.temperature == 1.0 { weight } else { weight.powf(power) };
        let kept = || from.iter().filter(open).take(self.top_k).map(|c| (c.id, weigh(c.weight)));
        let limit = self.top_p * kept().map(|(_, weight)| weight).sum::<f32>();
        // Nucleus: up to and including the candidate that reaches the share.
        let (mut nucleus, mut size) = (0.0, 0);
        for (_, weight) in kept() {
            nucleus += weight;
            size += 1;
            if nucleus >= limit {
                break;
            }
        }
        let mut left = hash::unit(hash::mix(draw)) * nucleus;
        let mut last = None;
        for (id, weight) in kept().take(size) {
            last = Some(id);
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

fn lifted<'a>(from: impl Iterator<Item = &'a Candidate>, draw: u64) -> Option<Id> {
    let mut best = None;
    let mut best_score = 0.0;
    for candidate in from {
        if candidate.weight * (1.0 + LIFT) * (1.0 + LIFT) < best_score {
            break;
        }
        let lift = 1.0 + LIFT * hash::unit(hash::roll(draw, candidate.id));
        let score = candidate.weight * lift * lift;
        if score > best_score {
            best = Some(candidate.id);
            best_score = score;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: [Candidate; 3] = [
        Candidate { id: 7, weight: 0.7 },
        Candidate { id: 8, weight: 0.2 },
        Candidate { id: EOT, weight: 0.1 },
    ];

    fn shares(choice: Choice, bar_end: bool) -> [u32; 3] {
        let mut seen = [0; 3];
        for draw in 0..10_000 {
            let id = choice.pick(&FROM, hash::mix(draw), bar_end).expect("a candidate");
            seen[FROM.iter().position(|c| c.id == id).expect("known")] += 1;
        }
        seen
    }

    #[test]
    fn temperature_one_is_the_distribution() {
        let seen = shares(Choice { temperature: 1.0, top_p: 1.0, top_k: 99 }, false);
        assert!((6_700..7_300).contains(&seen[0]) && (1_800..2_200).contains(&seen[1]), "{seen:?}");
    }

    #[test]
    fn nucleus_and_count_cut_the_tail() {
        assert_eq!(shares(Choice { temperature: 1.0, top_p: 0.6, top_k: 99 }, false)[1..], [0, 0]);
        assert_eq!(shares(Choice { temperature: 1.0, top_p: 0.8, top_k: 99 }, false)[2], 0);
        assert_eq!(shares(Choice { temperature: 1.0, top_p: 1.0, top_k: 2 }, false)[2], 0);
    }

    #[test]
    fn a_barred_end_is_never_drawn() {
        assert_eq!(shares(Choice { temperature: 2.0, top_p: 1.0, top_k: 99 }, true)[2], 0);
        let cold = Choice { temperature: 0.0, top_p: 1.0, top_k: 99 };
        assert_eq!(cold.pick(&FROM[2..], 1, true), None);
        assert_eq!(cold.pick(&FROM[2..], 1, false), Some(EOT));
    }
}
