//! When a series that rises or falls will reach a limit: a disk that fills, memory that leaks,
//! a budget that runs out.

use std::time::Duration;

/// How fast the past loses weight: what is this many values old counts e times less.
const MEMORY: f64 = 360.0;
/// Values before anything is said.
const ENOUGH: u64 = 30;
/// A slope is one when it is so many standard errors from none.
const SURE: f64 = 6.0;
/// What lies further ahead is no forecast.
const FURTHEST: f64 = 30.0 * 86_400.0;

/// A line through the recent past, by least squares with exponentially falling weights.
#[derive(Debug, Default)]
pub struct Trend {
    origin: Option<f64>,
    seen: u64,
    w: f64,
    t: f64,
    v: f64,
    tt: f64,
    tv: f64,
    vv: f64,
    last: f64,
}

impl Trend {
    /// Takes a value at `at` (seconds, of any clock that does not go back).
    pub fn observe(&mut self, at: f64, value: f64) {
        if !(at.is_finite() && value.is_finite()) {
            return;
        }
        let origin = *self.origin.get_or_insert(at);
        let (t, keep) = (at - origin, 1.0 - 1.0 / MEMORY);
        for sum in [&mut self.w, &mut self.t, &mut self.v, &mut self.tt, &mut self.tv, &mut self.vv]
        {
            *sum *= keep;
        }
        self.w += 1.0;
        self.t += t;
        self.v += value;
        self.tt += t * t;
        self.tv += t * value;
        self.vv += value * value;
        self.last = t;
        self.seen += 1;
    }

    /// The value now by the line, and its slope in units a second, where there is one.
    #[must_use]
    pub fn line(&self) -> Option<(f64, f64)> {
        if self.seen < ENOUGH || self.w <= 0.0 {
            return None;
        }
        let (mean_t, mean_v) = (self.t / self.w, self.v / self.w);
        let var_t = self.tt / self.w - mean_t * mean_t;
        let var_v = (self.vv / self.w - mean_v * mean_v).max(0.0);
        if var_t <= 0.0 {
            return None;
        }
        let slope = (self.tv / self.w - mean_t * mean_v) / var_t;
        let unexplained = (var_v - slope * slope * var_t).max(0.0);
        let error = (unexplained / (var_t * self.w)).sqrt();
        let now = mean_v + slope * (self.last - mean_t);
        (slope.abs() > SURE * error && slope != 0.0).then_some((now, slope))
    }

    /// How long until the series reaches `limit`, if it goes on as it does; `None` when it
    /// goes another way, is past it already, or would not be there within a month.
    #[must_use]
    pub fn reaches(&self, limit: f64) -> Option<Duration> {
        let (now, slope) = self.line()?;
        let ahead = (limit - now) / slope;
        (0.0..=FURTHEST).contains(&ahead).then(|| Duration::from_secs_f64(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(of: impl Fn(f64) -> f64, count: u32) -> Trend {
        let mut trend = Trend::default();
        (0..count).for_each(|n| trend.observe(f64::from(n) * 10.0, of(f64::from(n) * 10.0)));
        trend
    }

    fn noise(t: f64) -> f64 {
        fastrand::Rng::with_seed(t as u64).f64() - 0.5
    }

    #[test]
    fn a_leak_is_told_with_the_time_that_is_left() {
        let leak = fed(|t| 1000.0 + 0.5 * t + 20.0 * noise(t), 300);
        let left = leak.reaches(5000.0).expect("it leaks").as_secs_f64();
        let right = (5000.0 - 1000.0) / 0.5 - 2990.0;
        assert!((left - right).abs() < 0.05 * right, "{left} {right}");
        assert_eq!(leak.reaches(900.0), None, "it is past that");
    }

    #[test]
    fn noise_and_saws_are_no_trends() {
        assert_eq!(fed(|t| 1000.0 + 200.0 * noise(t), 2000).reaches(2000.0), None);
        let saw = fed(|t| 1000.0 + (t % 600.0), 2000);
        assert_eq!(saw.reaches(3000.0), None, "{:?}", saw.line());
        assert_eq!(fed(|_| 5.0, 500).reaches(6.0), None);
    }

    #[test]
    fn what_falls_reaches_what_is_below_it_only() {
        let falls = fed(|t| 1000.0 - 0.1 * t, 100);
        assert!(falls.reaches(0.0).is_some());
        assert_eq!(falls.reaches(2000.0), None);
        assert_eq!(fed(|t| 1000.0 - 0.0001 * t, 100).reaches(0.0), None, "months ahead");
    }

    #[test]
    fn a_leak_that_ends_is_forgotten() {
        let ended = fed(|t| if t < 3000.0 { t } else { 3000.0 + noise(t) }, 3000);
        assert_eq!(ended.reaches(10_000.0), None, "{:?}", ended.line());
    }
}
