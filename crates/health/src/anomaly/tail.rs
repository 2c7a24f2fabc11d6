//! How rare a value is among those seen: peaks over a threshold, fitted by a generalised
//! Pareto distribution.

/// Values from which the threshold is taken.
const FIRST: usize = 150;
/// Quantile that is the threshold.
const QUANTILE: f64 = 0.95;
/// How fast the threshold follows its quantile, in its own measure (stochastic approximation;
/// statistics are never negative): it halves in about 280 values that are all below it.
const FOLLOWS: f64 = 0.05;
/// Excesses that are kept: the last ones.
const KEPT: usize = 64;
/// Excesses below which no tail is fitted.
const ENOUGH: usize = 16;
/// Values over which the share above the threshold is averaged.
const MEMORY: f64 = 4000.0;
/// Shapes outside of this come from too few excesses.
const SHAPES: (f64, f64) = (-0.2, 0.4);
/// Surprise beyond the end of a bounded tail, and the most there is.
const MOST: f64 = 30.0;

/// The upper tail of a statistic.
#[derive(Debug, Default)]
pub(super) struct Tail {
    first: Vec<f64>,
    threshold: f64,
    excesses: Vec<f64>,
    next: usize,
    sum: f64,
    squares: f64,
    /// Values, and those above the threshold, weighted by age.
    values: f64,
    above: f64,
}

impl Tail {
    /// −log₁₀ of the probability of such a value or a larger one; 0 for all that is common
    /// and until enough is known.
    pub(super) fn surprise(&self, value: f64) -> f64 {
        if self.excesses.len() < ENOUGH || value <= self.threshold {
            return 0.0;
        }
        let count = self.excesses.len() as f64;
        let mean = self.sum / count;
        if mean <= 0.0 {
            return MOST;
        }
        // By the method of moments (Hosking and Wallis 1987).
        let variance = (self.squares / count - mean * mean).max(1e-12 * mean * mean);
        let shape = (0.5 * (1.0 - mean * mean / variance)).clamp(SHAPES.0, SHAPES.1);
        let scale = mean * (1.0 - shape);
        let excess = (value - self.threshold) / scale;
        let beyond = if shape.abs() < 1e-3 {
            excess / std::f64::consts::LN_10
        } else {
            let base = 1.0 + shape * excess;
            if base > 0.0 { base.log10() / shape } else { MOST }
        };
        let share = (self.above / self.values).max(1e-3);
        (beyond - share.log10()).min(MOST)
    }

    /// Takes a value of normal running.
    pub(super) fn learn(&mut self, value: f64) {
        if self.values > 0.0 {
            self.add(value);
            return;
        }
        self.first.push(value);
        if self.first.len() == FIRST {
            let mut first = std::mem::take(&mut self.first);
            first.sort_by(f64::total_cmp);
            self.threshold = first[(QUANTILE * FIRST as f64) as usize];
            first.into_iter().for_each(|value| self.add(value));
        }
    }

    fn add(&mut self, value: f64) {
        let left = 1.0 - 1.0 / MEMORY;
        self.values = self.values * left + 1.0;
        self.above *= left;
        let is_above = value > self.threshold;
        let excess = value - self.threshold;
        let turn = f64::from(u8::from(is_above)) - (1.0 - QUANTILE);
        self.threshold *= (FOLLOWS * turn).exp();
        if !is_above {
            return;
        }
        self.above += 1.0;
        if self.excesses.len() < KEPT {
            self.excesses.push(excess);
        } else {
            self.excesses[self.next] = excess;
            self.next = (self.next + 1) % KEPT;
        }
        // Summed anew: differences of sums drift, and this is one value in twenty.
        self.sum = self.excesses.iter().sum();
        self.squares = self.excesses.iter().map(|e| e * e).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_an_exponential_is_its_own() {
        let mut tail = Tail::default();
        let mut rng = fastrand::Rng::with_seed(1);
        (0..20_000).for_each(|_| tail.learn(-rng.f64().max(1e-12).ln()));
        for decades in [2.0, 3.0, 4.0] {
            let value = decades * std::f64::consts::LN_10;
            let surprise = tail.surprise(value);
            assert!((surprise - decades).abs() < 0.25 * decades, "{decades}: {surprise}");
        }
        assert_eq!(tail.surprise(1.0), 0.0);
    }

    #[test]
    fn nothing_surprises_before_enough_is_known() {
        let mut tail = Tail::default();
        (0..FIRST - 1).for_each(|n| tail.learn(n as f64));
        assert_eq!(tail.surprise(1e9), 0.0);
    }
}
