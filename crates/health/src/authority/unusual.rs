//! What is anomalous for a replica by its own past, and unlike its peers at the same moment.
//!
//! Three series each, a value every ten seconds. What meets all of them at once is a wave,
//! and speaks against nobody; what is usual for one is its nature.

use crate::anomaly::{Watch, peers};
use evenkeel_domain::conduct::{GAPS, Look, TIMES};
use evenkeel_domain::{Pool, SignalKind};
use std::collections::HashMap;

/// Times below which an interval says nothing.
const ENOUGH: u64 = 10;
/// Share of faults below which they are everyday life.
const FAULTS: f64 = 0.05;

/// The series of one replica.
#[derive(Default)]
struct Series {
    before: Option<Look>,
    watches: [Watch; 3],
}

/// What the series are called, and whether more is worse.
const SERIES: [(&str, bool); 3] =
    [("seconds to an answer", true), ("share of faults", true), ("tokens a second", false)];

/// The replicas of one service.
#[derive(Default)]
pub(super) struct Unusual {
    series: HashMap<u64, Series>,
}

impl Unusual {
    /// Takes a look at all; gives what is unusual, by replica. `at`: seconds, which
    /// tell the time of day but for its zone.
    pub(super) fn look(&mut self, pool: &Pool, at: u64) -> Vec<(u64, SignalKind)> {
        let members = pool.members();
        self.series.retain(|key, _| members.iter().any(|r| r.id.key == *key));
        let keys: Vec<u64> = members.iter().map(|r| r.id.key).collect();
        let values: Vec<[f64; 3]> = members
            .iter()
            .map(|r| {
                let now = r.live.conduct.look();
                let before = self.series.entry(r.id.key).or_default().before.replace(now);
                before.map_or([f64::NAN; 3], |before| values(&now.since(&before)))
            })
            .collect();
        let mut found = Vec::new();
        for (which, (name, more_is_worse)) in SERIES.into_iter().enumerate() {
            let column: Vec<f64> = values.iter().map(|v| v[which]).collect();
            let unlike = peers::unlike(&column);
            for ((key, value), unlike) in keys.iter().zip(&column).zip(unlike) {
                let Some(series) = self.series.get_mut(key) else { continue };
                let reading = series.watches[which].observe(at, *value);
                let worse = (*value > reading.expected) == more_is_worse;
                let matters = which != 1 || *value >= FAULTS;
                if reading.is_anomalous() && unlike && worse && matters {
                    let text = format!(
                        "{name}: {value:.3}, where {:.3} is usual and its peers differ",
                        reading.expected
                    );
                    found.push((*key, SignalKind::Unusual(text.into())));
                }
            }
        }
        found
    }
}

/// The three values of an interval; what is not known is no number.
fn values(look: &Look) -> [f64; 3] {
    let mean = |classes: std::ops::Range<usize>| {
        let (own, _, count) = look.beside(look, classes)?;
        (count >= ENOUGH).then_some(own.as_secs_f64())
    };
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    let (good, faults) = (sum(&look.good), sum(&look.faults));
    let share = (good + faults >= ENOUGH).then(|| faults as f64 / (good + faults) as f64);
    let pace = mean(GAPS..TIMES).filter(|gap| *gap > 0.0).map(|gap| 1.0 / gap);
    [mean(0..GAPS), share, pace].map(|value| value.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// A day of ordinary times, then `last` of each replica; who is told of.
    fn told(last: [u64; 3]) -> Vec<u64> {
        let pool = Pool::new("s".into());
        let replicas = [1, 2, 3].map(|key| Arc::new(super::super::tests::replica(key)));
        pool.set_members(replicas.to_vec());
        let mut unusual = Unusual::default();
        let mut rng = fastrand::Rng::with_seed(7);
        for step in 0..4000 {
            for replica in &replicas {
                for _ in 0..20 {
                    let ms = 80 + rng.u64(0..40);
                    replica.live.conduct.took(0, Duration::from_millis(ms));
                }
            }
            assert!(unusual.look(&pool, step * 10).is_empty(), "{step}");
        }
        for (replica, ms) in replicas.iter().zip(last) {
            (0..20).for_each(|_| replica.live.conduct.took(0, Duration::from_millis(ms)));
        }
        unusual.look(&pool, 40_000).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn one_that_is_unlike_its_past_and_its_peers_is_told_of_and_a_wave_is_not() {
        assert_eq!(told([100, 300, 100]), [2]);
        assert!(told([300, 300, 300]).is_empty());
        assert!(told([100, 20, 100]).is_empty(), "better is no fault");
    }
}
