//! How unlikely it is that a beat is only late: φ-accrual (Hayashibara et al., 2004).
//!
//! ```text
//!   φ = −log₁₀ P(a beat comes later than this)        φ 1: one in 10, φ 8: one in 10⁸
//! ```
//! The distribution is a normal one over the last intervals; its tail is the logistic
//! approximation that Akka uses. No clock inside: `now` is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two beats.
pub const BEAT: Duration = Duration::from_millis(250);
/// Intervals remembered: some four minutes.
const WINDOW: usize = 1000;
/// The least deviation that is assumed: timers and networks are never more regular.
const LEAST_DEVIATION: f64 = 100_000.0;
/// A longer interval was an outage, and says nothing of how regular beats are.
const LONGEST: Duration = Duration::from_millis(2500);
/// φ does not grow beyond this: double precision has no more.
const HIGHEST: f64 = 300.0;

/// The beats of one sender, as they arrive at one receiver.
#[derive(Debug, Clone, Default)]
pub struct Accrual {
    /// Microseconds: sums of whole numbers do not drift.
    intervals: VecDeque<u64>,
    sum: u64,
    squares: u64,
    last: Option<Instant>,
}

impl Accrual {
    /// Nothing was heard yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A beat has arrived at `now`.
    pub fn observe(&mut self, now: Instant) {
        match self.last {
            // What is usual until it is known: as Akka has it, with a quarter either way.
            None => {
                self.push(BEAT * 3 / 4);
                self.push(BEAT * 5 / 4);
            }
            Some(last) => self.push(now.saturating_duration_since(last)),
        }
        self.last = self.last.max(Some(now));
    }

    fn push(&mut self, interval: Duration) {
        if interval > LONGEST {
            return;
        }
        let us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        self.intervals.push_back(us);
        self.sum += us;
        self.squares += us * us;
        if self.intervals.len() > WINDOW
            && let Some(old) = self.intervals.pop_front()
        {
            self.sum -= old;
            self.squares -= old * old;
        }
    }

    /// The receiver itself stood still for `gap`: what came meanwhile waits to be read.
    pub fn forgive(&mut self, gap: Duration, now: Instant) {
        self.last = self.last.map(|last| (last + gap).min(now));
    }

    /// When the last beat arrived.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// φ at `now`, where a beat may be late by `pause`. 0 before the first beat: no data says
    /// nothing.
    #[must_use]
    pub fn phi(&self, now: Instant, pause: Duration) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let count = self.intervals.len() as f64;
        if count == 0.0 {
            return 0.0;
        }
        let mean = self.sum as f64 / count;
        let variance = (self.squares as f64 / count - mean * mean).max(0.0);
        let deviation = variance.sqrt().max(LEAST_DEVIATION);
        let late = now.saturating_duration_since(last).as_micros() as f64;
        tail((late - mean - pause.as_micros() as f64) / deviation)
    }
}

/// −log₁₀ of the share of a normal distribution beyond `y` deviations.
fn tail(y: f64) -> f64 {
    let x = y * (1.5976 + 0.070_566 * y * y);
    // log10(1 + e^x), which neither overflows nor loses what is small.
    let nats = if x > 30.0 { x } else { x.exp().ln_1p() };
    (nats / std::f64::consts::LN_10).min(HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, rng};
    use proptest::prelude::*;

    const NONE: Duration = Duration::ZERO;
    const PAUSE: Duration = Duration::from_secs(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Beats at these intervals (milliseconds), and the time of the last one.
    fn beats(intervals: impl IntoIterator<Item = u64>) -> (Accrual, Instant) {
        let (mut accrual, mut now) = (Accrual::new(), clock::now());
        accrual.observe(now);
        for interval in intervals {
            now += ms(interval);
            accrual.observe(now);
        }
        (accrual, now)
    }

    #[test]
    fn regular_beats_are_suspect_after_600_ms_and_silent_before_3_s() {
        let (accrual, last) = beats(std::iter::repeat_n(250, 1500));
        for (late, pause, at_least, below) in [
            (0, NONE, 0.0, 0.1),
            (250, NONE, 0.29, 0.31), // half of all beats are later than the mean
            (450, NONE, 1.5, 2.0),
            (600, NONE, 3.0, 5.0),
            (600, PAUSE, 0.0, 0.1),
            (2250, PAUSE, 0.29, 0.31),
            (2600, PAUSE, 3.0, 8.0),
            (2900, PAUSE, 8.0, 300.0),
        ] {
            let phi = accrual.phi(last + ms(late), pause);
            assert!((at_least..below).contains(&phi), "{late} ms, {pause:?}: {phi}");
        }
        assert!(accrual.phi(last + Duration::from_secs(86_400), NONE) <= HIGHEST);
    }

    #[test]
    fn nothing_heard_says_nothing() {
        assert_eq!(Accrual::new().phi(clock::now() + PAUSE, NONE), 0.0);
    }

    #[test]
    fn an_outage_does_not_make_it_patient() {
        let (mut accrual, mut now) = beats(std::iter::repeat_n(250, 100));
        let before = accrual.phi(now + ms(600), NONE);
        for _ in 0..20 {
            now += ms(60_000);
            accrual.observe(now);
        }
        assert_eq!(accrual.phi(now + ms(600), NONE), before);
    }

    #[test]
    fn who_stood_still_itself_blames_nobody() {
        let (mut accrual, last) = beats(std::iter::repeat_n(250, 100));
        let now = last + ms(10_000);
        accrual.forgive(ms(9_900), now);
        assert!(accrual.phi(now, NONE) < 0.5);
        accrual.forgive(ms(9_900), now);
        assert_eq!(accrual.last(), Some(now), "never later than now");
    }

    /// A day of beats whose delays are those of a busy network, with pauses of up to two
    /// seconds each minute or so (garbage collection, a virtual machine that is moved).
    #[test]
    fn no_false_alarm_within_a_day() {
        let (mut accrual, mut last) = beats([]);
        let mut rng = rng::seeded(1);
        let (mut highest, mut suspected): (f64, u32) = (0.0, 0);
        for _ in 0..86_400 * 4 {
            let jitter = -20.0 * rng.f64().max(1e-9).ln();
            let pause = if rng.u32(..240) == 0 { rng.f64() * 2000.0 } else { 0.0 };
            let interval = Duration::from_micros(((250.0 + jitter + pause) * 1e3) as u64);
            let next = last + interval;
            highest = highest.max(accrual.phi(next, PAUSE));
            suspected += u32::from(accrual.phi(next, NONE) >= 3.0);
            accrual.observe(next);
            last = next;
        }
        assert!(highest < 8.0, "φ {highest}");
        assert!(suspected > 0, "pauses of two seconds are noticed without a pause allowed");
        let late = (0..).map(|t| ms(t * 10)).find(|t| accrual.phi(last + *t, PAUSE) >= 8.0);
        assert!(late.is_some_and(|t| t < ms(4_500)), "{late:?}");
    }

    proptest! {
        #[test]
        fn it_never_falls_while_nothing_comes(
            intervals in prop::collection::vec(0u64..5000, 0..200),
            late in prop::collection::vec(0u64..20_000, 1..50),
        ) {
            let (accrual, last) = beats(intervals);
            let mut late = late;
            late.sort_unstable();
            let all: Vec<f64> = late.iter().map(|l| accrual.phi(last + ms(*l), NONE)).collect();
            prop_assert!(all.iter().all(|phi| phi.is_finite() && *phi >= 0.0));
            prop_assert!(all.windows(2).all(|two| two[0] <= two[1]));
        }
    }
}
