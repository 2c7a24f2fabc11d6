//! When each request of an open loop is meant to be sent. Pure, and the same for the
//! same seed.

use crate::load::{Arrivals, Record};
use evenkeel_domain::rng;
use std::sync::Arc;
use std::time::Duration;

/// A request to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Arrival {
    /// Since the start of the run.
    pub(crate) at: Duration,
    /// Its number among all workers' requests.
    pub(crate) index: u64,
    /// Its sizes, from a trace.
    pub(crate) record: Option<Record>,
}

/// One worker's share of the arrivals.
#[derive(Debug)]
pub(crate) struct Schedule {
    kind: Kind,
    worker: u64,
    workers: u64,
    step: u64,
    last: f64,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Per second, of all workers together.
    Rate(f64, Arrivals),
    /// With a speed.
    Trace(Arc<[Record]>, f64),
}

impl Schedule {
    pub(crate) fn new(kind: Kind, worker: usize, workers: usize, seed: u64) -> Self {
        let (worker, workers) = (worker as u64, workers as u64);
        // Distinct seeds for the workers of one run and of the next seed's run.
        let rng = rng::seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(worker));
        Self { kind, worker, workers, step: 0, last: 0.0, rng }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let index = self.step * self.workers + self.worker;
        self.step += 1;
        let (at, record) = match &self.kind {
            Kind::Rate(rate, Arrivals::Even) => (index as f64 / rate, None),
            Kind::Rate(rate, Arrivals::Poisson) => {
                // The sum of independent Poisson processes is one of the summed rate.
                let mean = self.workers as f64 / rate;
                self.last += -mean * (1.0 - self.rng.f64()).ln();
                (self.last, None)
            }
            Kind::Trace(records, speed) => {
                let record = *records.get(usize::try_from(index).ok()?)?;
                (record.at.as_secs_f64() / speed, Some(record))
            }
        };
        Some(Arrival { at: Duration::try_from_secs_f64(at).ok()?, index, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(kind: &Kind, seed: u64, until: f64) -> Vec<Arrival> {
        let end = Duration::from_secs_f64(until);
        let share = |w| Schedule::new(kind.clone(), w, 2, seed).take_while(move |a| a.at < end);
        let mut all: Vec<Arrival> = share(0).chain(share(1)).collect();
        all.sort_by_key(|a| a.at);
        all
    }

    #[test]
    fn even_arrivals_are_even_across_workers() {
        let all = both(&Kind::Rate(100.0, Arrivals::Even), 1, 1.0);
        assert_eq!(all.len(), 100);
        for pair in all.windows(2) {
            assert!((pair[1].at - pair[0].at).abs_diff(Duration::from_millis(10)).as_nanos() < 9);
        }
    }

    #[test]
    fn poisson_arrivals_have_rate_and_spread_and_repeat() {
        let kind = Kind::Rate(1_000.0, Arrivals::Poisson);
        let all = both(&kind, 7, 20.0);
        let rate = all.len() as f64 / 20.0;
        assert!((950.0..1_050.0).contains(&rate), "{rate}");
        let gaps: Vec<f64> =
            all.windows(2).map(|p| (p[1].at - p[0].at).as_secs_f64() * 1_000.0).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential gaps: the variance is the mean squared.
        assert!((0.9..1.1).contains(&(variance / (mean * mean))), "{variance} {mean}");
        assert_eq!(all, both(&kind, 7, 20.0));
        assert_ne!(all, both(&kind, 8, 20.0));
    }

    #[test]
    fn a_trace_keeps_its_times_at_its_speed() {
        let record = |millis| Record { at: Duration::from_millis(millis), input: 1, output: 1 };
        let records: Arc<[Record]> = [0, 30, 30, 500].map(record).into();
        let all = both(&Kind::Trace(records, 10.0), 1, 9.0);
        let at: Vec<u128> = all.iter().map(|a| a.at.as_millis()).collect();
        assert_eq!(at, [0, 3, 3, 50]);
    }
}
