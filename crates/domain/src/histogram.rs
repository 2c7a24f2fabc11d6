//! A latency histogram that many threads write without waiting for each other.
//!
//! Four buckets an octave (a quantile is at most a quarter too high), from 64 µs
//! to about 30 min. Fixed size, no allocation after the first.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Lowest bucket: everything under 64 µs.
const SHIFT: u32 = 6;
const PER_OCTAVE: usize = 4;
/// 25 octaves above 64 µs reach 35 minutes: longer than any sensible deadline.
const BUCKETS: usize = 25 * PER_OCTAVE + 1;

/// Counts of durations by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

fn bucket(us: u64) -> usize {
    let scaled = us >> SHIFT;
    if scaled == 0 {
        return 0;
    }
    let octave = scaled.ilog2() as usize;
    // The two bits below the leading one choose the quarter.
    let base = us >> (octave as u32 + SHIFT - 2);
    let quarter = (base & 3) as usize;
    (octave * PER_OCTAVE + quarter + 1).min(BUCKETS - 1)
}

/// Upper edge of a bucket, in microseconds.
fn upper_us(index: usize) -> u64 {
    if index == 0 {
        return 1 << SHIFT;
    }
    let (octave, quarter) = ((index - 1) / PER_OCTAVE, (index - 1) % PER_OCTAVE);
    ((5 + quarter as u64) << (octave as u32 + SHIFT)) / 4
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// A copy to compute with.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        Snapshot { counts, sum_us: self.sum_us.load(Relaxed) }
    }
}

/// A histogram at one moment; two of them subtract to a window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    counts: Vec<u64>,
    sum_us: u64,
}

impl Snapshot {
    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// The upper edge of the bucket that holds the `q`-quantile (0 to 1); `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(upper_us(index)));
            }
        }
        None
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |i: usize| earlier.counts.get(i).copied().unwrap_or(0);
        Self {
            counts: self
                .counts
                .iter()
                .enumerate()
                .map(|(i, c)| c.saturating_sub(before(i)))
                .collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Two histograms as one.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
        self
    }

    /// Upper edge in seconds and the count at or below it, one per octave: what Prometheus
    /// is given.
    #[must_use]
    pub fn cumulative_octaves(&self) -> Vec<(f64, u64)> {
        let mut seen = 0;
        let mut out = Vec::with_capacity(26);
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if index % PER_OCTAVE == 0 {
                out.push((upper_us(index) as f64 / 1e6, seen));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_grow_and_hold_their_values() {
        for i in 1..BUCKETS {
            assert!(upper_us(i) > upper_us(i - 1), "{i}");
        }
    }

    #[test]
    fn an_empty_one_has_no_quantile() {
        assert_eq!(Histogram::default().snapshot().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_value_lies_within_a_fifth_of_its_bucket(us in 64u64..1_800_000_000) {
            let edge = upper_us(bucket(us));
            prop_assert!(edge > us && (edge as f64) <= us as f64 * 1.26, "{us} in {edge}");
        }

        #[test]
        fn quantiles_rise(values in proptest::collection::vec(1u64..10_000_000, 1..200)) {
            let h = Histogram::default();
            for v in &values { h.record(Duration::from_micros(*v)); }
            let s = h.snapshot();
            prop_assert_eq!(s.count(), values.len() as u64);
            let qs: Vec<_> = [0.1, 0.5, 0.9, 0.99, 1.0].iter().map(|q| s.quantile(*q)).collect();
            prop_assert!(qs.windows(2).all(|w| w[0] <= w[1]));
        }
    }
}
