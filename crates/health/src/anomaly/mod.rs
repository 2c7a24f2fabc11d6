//! What is unusual for one series, learnt online from its own past.
//!
//! ```text
//!              ┌─► jump:  |value − short mean|        ─► tail ─┐
//!  value ──────┤                                               ├─► surprise − recent ─► score
//!              └─► shift: |mean of the last few residuals| ─► tail ─┘
//!                         residual = value − (slow level + time of day)
//! ```
//! Two statistics, each judged by how rare it is for this series: beyond a high quantile the
//! excesses are fitted by a generalised Pareto distribution (peaks over threshold; Siffer et
//! al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017), whose drift is
//! taken out beforehand by a slow level and, where it explains the series better, a profile
//! over the day. What has been surprising lately surprises less: an episode is told once.
//!
//! Constant time and memory for each value. An anomaly is evidence and never a fault: whether
//! it speaks against anybody is for others to say.

pub mod forecast;
pub mod peers;
mod season;
mod tail;

use season::Season;
use tail::Tail;

/// Residuals whose mean tells of a shift.
const SHIFT: usize = 15;
/// Weight of a value in the short mean that jumps are measured from.
const SHORT: f64 = 0.2;
/// Least weight of a value in the slow level and in the scale of residuals.
const SLOW: f64 = 0.002;
/// Residuals beyond so many scales move the level no further.
const CLIP: f64 = 4.0;
/// Values from which the first scale is taken.
const FIRST: u64 = 100;
/// What is left after each value of how surprising the last ones were.
const HUSH: f64 = 0.99;
/// Statistics as rare as that (1 in 10,000) are not learnt: they are no normal running.
const RARE: f64 = 4.0;
/// Surprise that makes a score of one half.
const HALF: f64 = 10.0;

/// Score from which a value is an anomaly: a thousand times rarer than what came lately.
pub const ANOMALOUS: f64 = 3.0 / (3.0 + HALF);

/// What a value looks like beside those before it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// From 0, as ever, to below 1.
    pub score: f64,
    /// What would have been normal, in the series' own unit.
    pub expected: f64,
}

impl Reading {
    /// Whether the value is an anomaly.
    #[must_use]
    pub fn is_anomalous(&self) -> bool {
        self.score >= ANOMALOUS
    }
}

/// One series.
#[derive(Debug)]
pub struct Watch {
    seen: u64,
    short: f64,
    level: f64,
    scale: f64,
    season: Season,
    residuals: [f64; SHIFT],
    jumps: Tail,
    shifts: Tail,
    recent: f64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            seen: 0,
            short: 0.0,
            level: 0.0,
            scale: 0.0,
            season: Season::default(),
            residuals: [0.0; SHIFT],
            jumps: Tail::default(),
            shifts: Tail::default(),
            recent: 0.0,
        }
    }
}

impl Watch {
    /// Takes a value, in any unit, seen at `at` (seconds since the Unix epoch, which tell
    /// the time of day). What is no number says nothing.
    pub fn observe(&mut self, at: u64, value: f64) -> Reading {
        if !value.is_finite() {
            return Reading { score: 0.0, expected: self.level };
        }
        if self.seen == 0 {
            (self.short, self.level) = (value, value);
        }
        let expected = self.level + self.season.expected(at, value - self.level);
        let residual = value - expected;
        let jump = (value - self.short).abs();
        let shift = self.shift(residual).abs();
        let (by_jump, by_shift) = (self.jumps.surprise(jump), self.shifts.surprise(shift));
        if by_jump < RARE {
            self.jumps.learn(jump);
        }
        if by_shift < RARE {
            self.shifts.learn(shift);
        }
        let surprise = by_jump.max(by_shift);
        let news = (surprise - self.recent).max(0.0);
        self.recent = surprise.max(self.recent * HUSH);
        self.follow(at, value, residual);
        Reading { score: news / (news + HALF), expected }
    }

    /// The mean of the last residuals, this one included.
    fn shift(&mut self, residual: f64) -> f64 {
        let at = (self.seen % SHIFT as u64) as usize;
        self.residuals[at] = residual;
        let count = (self.seen + 1).min(SHIFT as u64) as usize;
        self.residuals[..count].iter().sum::<f64>() / count as f64
    }

    /// Moves what is normal a little towards the value.
    fn follow(&mut self, at: u64, value: f64, residual: f64) {
        self.seen += 1;
        let weight = (1.0 / self.seen as f64).max(SLOW);
        let learning = self.seen <= FIRST;
        let most = if learning { f64::INFINITY } else { CLIP * self.scale };
        self.short += SHORT * (value - self.short);
        self.level += weight * residual.clamp(-most, most);
        self.season.learn(at, (value - self.level).clamp(-2.0 * most, 2.0 * most));
        self.scale += weight * (residual.abs().min(most) - self.scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same each time, about one either way.
    fn noise(n: u64) -> f64 {
        let mut rng = fastrand::Rng::with_seed(n);
        (0..6).map(|_| rng.f64()).sum::<f64>() - 3.0
    }

    fn anomalies(values: impl Iterator<Item = f64>, step: u64) -> Vec<u64> {
        let mut watch = Watch::default();
        let readings = (0..).zip(values).map(|(n, value)| (n, watch.observe(n * step, value)));
        readings.filter(|(_, reading)| reading.is_anomalous()).map(|(n, _)| n).collect()
    }

    #[test]
    fn a_spike_is_seen_when_it_comes_and_told_once() {
        let of = |n| 100.0 + noise(n) + if n == 3000 { 60.0 } else { 0.0 };
        assert_eq!(anomalies((0..4000).map(of), 10), [3000]);
    }

    #[test]
    fn a_shift_too_small_for_a_spike_is_seen_within_its_window_and_is_normal_in_the_end() {
        let of = |n| 100.0 + noise(n) + if n >= 3000 { 2.5 } else { 0.0 };
        let seen = anomalies((0..8000).map(of), 10);
        assert!(seen.first().is_some_and(|n| (3000..3000 + SHIFT as u64).contains(n)), "{seen:?}");
        // Noise has its own, one in some thousands.
        assert!(seen.iter().filter(|n| **n > 4000).count() <= 1, "{seen:?}");
    }

    #[test]
    fn a_day_like_the_others_is_none_and_one_without_its_noon_is() {
        let step = 300;
        let day = 86_400 / step;
        let of = |n: u64, missing: bool| {
            let noon = (n % day) as f64 / day as f64 * std::f64::consts::TAU;
            let wave = if missing && n >= 12 * day + day / 4 { 0.0 } else { -noon.cos() * 20.0 };
            100.0 + wave + noise(n)
        };
        let normal = anomalies((0..20 * day).map(|n| of(n, false)), step);
        let after = normal.iter().filter(|n| **n > 3 * day).count();
        assert!(after <= 2, "{normal:?}");
        let seen = anomalies((0..13 * day).map(|n| of(n, true)), step);
        assert!(seen.iter().any(|n| *n >= 12 * day), "{seen:?}");
    }

    #[test]
    fn steady_noise_of_any_size_is_hardly_ever_an_anomaly() {
        for size in [1e-6, 1.0, 1e9] {
            let seen = anomalies((0..50_000).map(|n| size * (5.0 + noise(n))), 10);
            assert!(seen.len() <= 5, "{size}: {seen:?}");
        }
    }

    #[test]
    fn what_stands_still_and_what_is_no_number_is_none() {
        assert!(anomalies((0..5000).map(|_| 7.0), 10).is_empty());
        let broken = (0..5000).map(|n| if n % 50 == 0 { f64::NAN } else { 7.0 + noise(n) });
        assert!(anomalies(broken, 10).len() <= 1);
        assert!(anomalies([f64::INFINITY; 400].into_iter(), 10).is_empty());
    }
}
