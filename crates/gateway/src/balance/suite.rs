//! What every policy must hold to, and what each promises by itself.

use super::*;
use evenkeel_domain::rng;
use proptest::prelude::*;

fn candidate(key: u64, in_flight: u32, weight: f32) -> Candidate {
    Candidate { key, name_hash: mix(key), in_flight, max_in_flight: 0, weight, latency_us: 1000 }
}

fn equals(n: u64) -> Vec<Candidate> {
    (0..n).map(|k| candidate(k, 0, 1.0)).collect()
}

fn policy(name: &str) -> Box<dyn Policy> {
    build(name, &BalanceOptions::default()).unwrap()
}

/// Runs `n` picks; with `stay`, picked requests stay in flight.
fn spread(name: &str, mut candidates: Vec<Candidate>, n: u64, stay: bool) -> Vec<u64> {
    let policy = policy(name);
    let mut rng = rng::seeded(7);
    let mut hits = vec![0; candidates.len()];
    for i in 0..n {
        let mut ctx = PickContext { source: mix(i), key: mix(i), rng: &mut rng };
        let at = policy.pick(&candidates, &mut ctx).unwrap();
        hits[at] += 1;
        if stay {
            candidates[at].in_flight += 1;
        }
    }
    hits
}

#[test]
fn names_are_distinct_and_unknown_ones_refused() {
    let names: std::collections::HashSet<_> = POLICIES.iter().map(|(n, _)| n).collect();
    assert_eq!(names.len(), POLICIES.len());
    assert!(build("fastest", &BalanceOptions::default()).is_none());
}

#[test]
fn every_policy_shares_among_equals() {
    for (name, _) in POLICIES {
        let hits = spread(name, equals(4), 4000, true);
        for hit in &hits {
            assert!((700..=1300).contains(hit), "{name}: {hits:?}");
        }
    }
}

#[test]
fn every_policy_follows_weights() {
    for (name, _) in POLICIES {
        let candidates = vec![candidate(1, 0, 3.0), candidate(2, 0, 1.0)];
        let hits = spread(name, candidates, 4000, true);
        let share = hits[0] as f64 / 4000.0;
        assert!((0.70..=0.80).contains(&share), "{name}: {share}");
    }
}

#[test]
fn round_robin_does_not_bunch() {
    let policy = policy("round_robin");
    let candidates = [candidate(1, 0, 5.0), candidate(2, 0, 1.0), candidate(3, 0, 1.0)];
    let mut rng = rng::seeded(1);
    let order: Vec<usize> = (0..7)
        .map(|_| {
            let mut ctx = PickContext { source: 0, key: 0, rng: &mut rng };
            policy.pick(&candidates, &mut ctx).unwrap()
        })
        .collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn least_requests_and_spill_leave_the_loaded_one_alone() {
    for name in ["least_requests", "round_robin_spill", "least_latency", "most_capacity"] {
        let hits = spread(name, vec![candidate(1, 40, 1.0), candidate(2, 0, 1.0)], 20, true);
        let most = if name == "round_robin_spill" { 10 } else { 0 };
        assert!(hits[0] <= most, "{name}: {hits:?}");
    }
}

#[test]
fn least_latency_prefers_the_fast() {
    let mut slow = candidate(1, 0, 1.0);
    slow.latency_us = 20_000;
    let hits = spread("least_latency", vec![slow, candidate(2, 0, 1.0)], 100, false);
    assert_eq!(hits, [0, 100]);
}

#[test]
fn most_capacity_fills_the_biggest_first() {
    let mut big = candidate(1, 10, 1.0);
    big.max_in_flight = 100;
    let mut small = candidate(2, 0, 1.0);
    small.max_in_flight = 20;
    assert_eq!(spread("most_capacity", vec![big, small], 50, false), [50, 0]);
}

#[test]
fn hashes_move_only_what_was_on_the_replica_that_went() {
    for name in ["source_hash", "consistent_hash"] {
        let policy = policy(name);
        let mut rng = rng::seeded(3);
        let all = equals(5);
        let less: Vec<_> = all.iter().copied().filter(|c| c.key != 2).collect();
        for i in 0..2000 {
            let mut ctx = PickContext { source: mix(i), key: mix(i), rng: &mut rng };
            let before = all[policy.pick(&all, &mut ctx).unwrap()].key;
            let after = less[policy.pick(&less, &mut ctx).unwrap()].key;
            assert!(before == 2 || before == after, "{name}");
        }
    }
}

#[test]
fn a_hot_key_spills_at_the_bound() {
    let policy = policy("consistent_hash");
    let mut rng = rng::seeded(3);
    let mut candidates = equals(4);
    for _ in 0..400 {
        let mut ctx = PickContext { source: 0, key: 42, rng: &mut rng };
        let at = policy.pick(&candidates, &mut ctx).unwrap();
        candidates[at].in_flight += 1;
    }
    let most = candidates.iter().map(|c| c.in_flight).max().unwrap();
    assert!(most <= 126, "bounded by (1 + 1/4) of the mean: {most}");
}

proptest! {
    #[test]
    fn every_policy_picks_one_of_the_candidates(
        loads in proptest::collection::vec((0u32..1000, 1u32..100), 1..70),
        key: u64,
    ) {
        let candidates: Vec<_> = loads.iter().enumerate()
            .map(|(i, (load, w))| candidate(i as u64, *load, *w as f32 / 10.0)).collect();
        let mut rng = rng::seeded(key);
        for (name, _) in POLICIES {
            let mut ctx = PickContext { source: key, key, rng: &mut rng };
            let at = policy(name).pick(&candidates, &mut ctx);
            prop_assert!(at.is_some_and(|i| i < candidates.len()), "{}", name);
        }
        for (name, _) in POLICIES {
            let mut ctx = PickContext { source: key, key, rng: &mut rng };
            prop_assert_eq!(policy(name).pick(&[], &mut ctx), None);
        }
    }
}
