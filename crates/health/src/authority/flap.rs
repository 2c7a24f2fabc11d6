//! A replica that goes in and out costs more than one that stays out: each time some requests
//! meet it. How often it went out over the last samples decides when it is held out (after
//! Nagios' flap detection: 21 samples, recent ones weigh more, two thresholds).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const SAMPLES: usize = 21;
/// Time between two samples: all of them are 42 s, longer than one isolation.
const STEP: Duration = Duration::from_secs(2);
/// It flaps when it went out in this share of them: for the third time …
const HIGH: f64 = 0.13;
/// … and no longer below this one: once at most.
const LOW: f64 = 0.07;
/// What the oldest and the newest sample weigh.
const WEIGHTS: (f64, f64) = (0.8, 1.2);
/// Without flapping for so long, it is held for the first time again.
const FORGIVEN: Duration = Duration::from_secs(900);

/// The in and out of one replica.
#[derive(Debug, Default)]
pub(super) struct Flap {
    samples: VecDeque<bool>,
    sampled: Option<Instant>,
    /// It was out at the last look, and went out since the last sample.
    out: bool,
    went_out: bool,
    held: Option<Held>,
    /// How often it was held, and when last.
    times: u32,
    last: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
}

impl Flap {
    /// Takes in whether it is out by the evidence of this moment; `None`: as it was. `base`:
    /// how long it is held for the first time; `most`: at most. True while it is held out.
    pub(super) fn look(
        &mut self,
        out: Option<bool>,
        base: Duration,
        most: Duration,
        now: Instant,
    ) -> bool {
        let out = out.unwrap_or(self.out);
        self.went_out |= out && !self.out;
        self.out = out;
        let due = self.sampled.is_none_or(|at| now.saturating_duration_since(at) >= STEP);
        if due {
            self.sampled = Some(now);
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(std::mem::take(&mut self.went_out));
        }
        if due || self.held.is_some_and(|held| now >= held.until) {
            self.judge(base, most, now);
        }
        self.held.is_some()
    }

    fn judge(&mut self, base: Duration, most: Duration, now: Instant) {
        let score = self.score();
        match self.held {
            None if score >= HIGH => {
                let forgiven = |at| now.saturating_duration_since(at) > FORGIVEN;
                self.times = if self.last.is_some_and(forgiven) { 1 } else { self.times + 1 };
                self.held = Some(Held { until: now + base.saturating_mul(self.times).min(most) });
            }
            Some(held) if now >= held.until && score < LOW => {
                self.held = None;
                self.last = Some(now);
            }
            _ => {}
        }
    }

    /// Share of samples in which it went out, weighed by age.
    fn score(&self) -> f64 {
        let missing = SAMPLES - self.samples.len();
        let slope = (WEIGHTS.1 - WEIGHTS.0) / (SAMPLES - 1) as f64;
        let weigh = |at: usize| WEIGHTS.0 + slope * (missing + at) as f64;
        let outs = self.samples.iter().enumerate().filter(|(_, went_out)| **went_out);
        outs.map(|(at, _)| weigh(at)).sum::<f64>() / SAMPLES as f64
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        format!("goes in and out again and again (held out for the {}. time)", self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::testing::at;

    /// Out for a second at each of these seconds; how long it is held in all within `seconds`.
    fn held(outs: &[u64], seconds: u64) -> (Option<u64>, u64) {
        let mut flap = Flap::default();
        let (base, most) = (Duration::from_secs(30), Duration::from_secs(300));
        let is_held = |ms: &u64| {
            let out = outs.contains(&(ms / 1000));
            flap.look(Some(out), base, most, at(*ms))
        };
        let ticks: Vec<u64> = (0..seconds * 1000).step_by(250).filter(is_held).collect();
        (ticks.first().map(|ms| ms / 1000), ticks.len() as u64 / 4)
    }

    #[test]
    fn once_and_twice_is_no_flapping_and_the_third_time_is() {
        assert_eq!(held(&[20], 200), (None, 0));
        assert_eq!(held(&[20, 30], 200), (None, 0));
        let (from, long) = held(&[20, 30, 40], 200);
        assert!(from.is_some_and(|s| (40..44).contains(&s)), "{from:?}");
        assert!((30..50).contains(&long), "{long}");
        assert_eq!(held(&[20, 30, 40], 2000).1, long, "it is let in again");
    }

    #[test]
    fn seldom_is_never_flapping() {
        let every_minute: Vec<u64> = (1..60).map(|n| n * 60).collect();
        assert_eq!(held(&every_minute, 3600), (None, 0));
    }

    #[test]
    fn who_goes_on_is_held_for_longer() {
        let mut flap = Flap::default();
        let (base, most) = (Duration::from_secs(30), Duration::from_secs(300));
        let (mut lengths, mut from) = (Vec::new(), None);
        for ms in (0..1_200_000_u64).step_by(250) {
            // Out every fourth second whenever it is let in.
            let out = from.is_none() && (ms / 1000).is_multiple_of(4);
            match (flap.look(Some(out), base, most, at(ms)), from) {
                (true, None) => from = Some(ms),
                (false, Some(since)) => {
                    lengths.push((ms - since) / 1000);
                    from = None;
                }
                _ => {}
            }
        }
        assert!(lengths.len() >= 3 && lengths.windows(2).all(|w| w[0] <= w[1]), "{lengths:?}");
        assert!(lengths.last() > Some(&80), "{lengths:?}");
    }
}
