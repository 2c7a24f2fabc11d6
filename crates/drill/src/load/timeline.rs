//! What happened when: one cell a second, coarser for long runs, so that memory is bounded.

use crate::load::Second;
use std::time::Duration;

/// The most cells: an hour by the second, a day by the half minute.
const MOST_CELLS: usize = 3_600;
/// Buckets per octave: a quantile is at most an eighth too high.
const PER_OCTAVE: usize = 8;

/// Counts by time since the measured start.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Seconds in a cell; doubles when cells run out.
    width: u64,
    cells: Vec<Cell>,
}

#[derive(Debug, Default, Clone)]
struct Cell {
    offered: u64,
    ok: u64,
    failed: u64,
    latencies: Vec<u32>,
    firsts: Vec<u32>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { width: 1, cells: Vec::new() }
    }

    /// A request was meant to be sent.
    pub(crate) fn offered(&mut self, since: Duration) {
        self.cell(since).offered += 1;
    }

    /// A request was answered after `latency`.
    pub(crate) fn ok(&mut self, since: Duration, latency: Duration) {
        let cell = self.cell(since);
        cell.ok += 1;
        count(&mut cell.latencies, latency);
    }

    /// The first content of a stream came after `waited`.
    pub(crate) fn first(&mut self, since: Duration, waited: Duration) {
        count(&mut self.cell(since).firsts, waited);
    }

    /// A request failed.
    pub(crate) fn failed(&mut self, since: Duration) {
        self.cell(since).failed += 1;
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        while self.width < other.width {
            self.coarsen();
        }
        while other.width < self.width {
            other.coarsen();
        }
        if self.cells.len() < other.cells.len() {
            self.cells.resize(other.cells.len(), Cell::default());
        }
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            cell.add(more);
        }
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        let row = |(at, cell): (usize, &Cell)| Second {
            at_s: at as u64 * self.width,
            width_s: self.width,
            offered: cell.offered,
            ok: cell.ok,
            failed: cell.failed,
            p50_ms: quantile(&cell.latencies, 0.5),
            p99_ms: quantile(&cell.latencies, 0.99),
            ttft_ms: quantile(&cell.firsts, 0.5),
        };
        self.cells.iter().enumerate().map(row).collect()
    }

    fn cell(&mut self, since: Duration) -> &mut Cell {
        let mut at = usize::try_from(since.as_secs() / self.width).unwrap_or(usize::MAX);
        while at >= MOST_CELLS {
            self.coarsen();
            at = usize::try_from(since.as_secs() / self.width).unwrap_or(usize::MAX);
        }
        if self.cells.len() <= at {
            self.cells.resize(at + 1, Cell::default());
        }
        &mut self.cells[at]
    }

    fn coarsen(&mut self) {
        self.width = self.width.saturating_mul(2);
        let pairs = self.cells.chunks(2).map(|pair| {
            let mut cell = pair[0].clone();
            if let Some(second) = pair.get(1) {
                cell.add(second);
            }
            cell
        });
        self.cells = pairs.collect();
    }
}

impl Cell {
    fn add(&mut self, more: &Self) {
        self.offered += more.offered;
        self.ok += more.ok;
        self.failed += more.failed;
        add(&mut self.latencies, &more.latencies);
        add(&mut self.firsts, &more.firsts);
    }
}

fn add(counts: &mut Vec<u32>, more: &[u32]) {
    if counts.len() < more.len() {
        counts.resize(more.len(), 0);
    }
    for (count, other) in counts.iter_mut().zip(more) {
        *count = count.saturating_add(*other);
    }
}

fn count(counts: &mut Vec<u32>, time: Duration) {
    let bucket = bucket(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    if counts.len() <= bucket {
        counts.resize(bucket + 1, 0);
    }
    counts[bucket] = counts[bucket].saturating_add(1);
}

/// In milliseconds; `None` without answers.
fn quantile(counts: &[u32], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().map(|c| u64::from(*c)).sum();
    let rank = ((total as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += u64::from(*count);
        seen >= rank
    })?;
    Some(upper_us(at) as f64 / 1e3)
}

fn bucket(us: u64) -> usize {
    let us = us.max(PER_OCTAVE as u64);
    let octave = us.ilog2() as usize;
    let eighth = (us >> (octave - 3)) as usize & (PER_OCTAVE - 1);
    (octave - 3) * PER_OCTAVE + eighth
}

/// Upper edge of a bucket.
fn upper_us(bucket: usize) -> u64 {
    let (octave, eighth) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
    (PER_OCTAVE as u64 + eighth as u64 + 1) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_a_little_high_at_most() {
        for us in [1, 8, 9, 100, 5_000, 1_000_000, 3_599_999_999] {
            let upper = upper_us(bucket(us));
            assert!(upper > us && upper as f64 <= (us.max(8) as f64) * 1.13, "{us} {upper}");
        }
    }

    #[test]
    fn a_long_run_gets_coarser_and_loses_nothing() {
        let mut long = Timeline::new();
        for second in 0..10_000 {
            long.offered(Duration::from_secs(second));
            long.ok(Duration::from_secs(second), Duration::from_millis(3));
        }
        let mut short = Timeline::new();
        short.failed(Duration::from_secs(5));
        short.merge(long);
        let seconds = short.seconds();
        assert!(seconds.len() <= MOST_CELLS);
        assert_eq!(seconds.iter().map(|s| s.offered).sum::<u64>(), 10_000);
        assert_eq!(seconds.iter().map(|s| s.failed).sum::<u64>(), 1);
        assert!(seconds[0].p99_ms.unwrap() < 3.4);
    }
}
