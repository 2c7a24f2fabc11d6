//! What the times to first token say: whether there is a queue, and how much is worked on.

use super::seen::Seen;
use evenkeel_domain::room::{CLASSES, Class, Times};
use std::time::{Duration, Instant};

/// Times at once that say enough to lower what is normal all the way.
const ENOUGH: f64 = 4.0;
/// How fast what is normal follows times that rise without a queue, for each window.
const DRIFT: f64 = 0.1;
/// Without a byte for so long, and for so many times as long as an answer usually takes to
/// begin, a replica with work has paused.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSES: u32 = 3;
/// Windows over which the rate is averaged: answers come in bunches.
const RATES: usize = 3;

/// What one window says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Times to first token as a multiple of the normal ones.
    pub(super) ratio: f64,
    /// Attempts that the replica worked on, on average. Those whose answer had begun; and, by
    /// Little's law, of the others the rate at which they came times the time that each takes
    /// without a queue.
    pub(super) works_on: f64,
    /// Attempts under way, on average.
    pub(super) in_flight: f64,
    /// Answers completed a second.
    pub(super) rate: f64,
    /// It had something to do and gave no byte for longer than its work explains: a pause of
    /// its process or its machine. What came late then came late for that, and how little
    /// came says nothing of what it can do.
    pub(super) paused: bool,
}

/// Looks that are judged together.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) times: Times,
    from: Instant,
    done: u64,
    looks: u32,
    in_flight: u64,
    unanswered: u64,
    /// The longest time without a byte while it had something to do.
    still: Duration,
}

impl Window {
    /// Begins after this look.
    pub(super) fn after(seen: &Seen) -> Self {
        Self { done: seen.done, ..Self::from(seen.now) }
    }

    /// Begins at a moment when nothing is known.
    pub(super) fn from(now: Instant) -> Self {
        Self {
            times: Times::default(),
            from: now,
            done: 0,
            looks: 0,
            in_flight: 0,
            unanswered: 0,
            still: Duration::ZERO,
        }
    }

    /// `busy`: for how long it has had something to do.
    pub(super) fn add(&mut self, seen: &Seen, busy: Duration) {
        self.still = self.still.max(seen.still.min(busy));
        self.times.extend(&seen.times);
        self.looks += 1;
        self.in_flight += u64::from(seen.in_flight);
        self.unanswered += u64::from(seen.unanswered);
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.from)
    }
}

/// Normal times, learned by class.
#[derive(Debug, Default)]
pub(super) struct Normal {
    /// Microseconds; 0 while unknown.
    by_class: [f64; CLASSES],
    rates: [f64; RATES],
    next: usize,
}

impl Normal {
    fn known<'a>(
        &'a mut self,
        times: &'a Times,
    ) -> impl Iterator<Item = (&'a Class, &'a mut f64)> + 'a {
        times.classes.iter().zip(&mut self.by_class).filter(|(class, _)| class.count > 0)
    }

    /// Whether nothing is known of these classes.
    pub(super) fn is_new(&mut self, times: &Times) -> bool {
        self.known(times).all(|(_, normal)| *normal == 0.0)
    }

    /// Reads a window that ends with a look.
    pub(super) fn read(&mut self, window: &Window, seen: &Seen) -> Reading {
        let (mut real, mut normal) = (0.0, 0.0);
        for (class, known) in self.known(&window.times) {
            let sum = class.sum_us as f64;
            real += sum;
            normal += if *known == 0.0 { sum } else { *known * class.count as f64 };
        }
        let ratio = if normal > 0.0 { real / normal } else { 1.0 };
        let seconds = window.age(seen.now).as_secs_f64().max(1e-6);
        let looks = f64::from(window.looks.max(1));
        let usual = window.times.mean().div_f64(ratio.max(1.0));
        let begun = (window.in_flight - window.unanswered) as f64 / looks;
        self.rates[self.next % RATES] = seen.done.saturating_sub(window.done) as f64 / seconds;
        self.next += 1;
        let rates = &self.rates[..self.next.min(RATES)];
        Reading {
            ratio,
            works_on: begun + window.times.real_us as f64 / 1e6 / ratio / seconds,
            in_flight: window.in_flight as f64 / looks,
            rate: rates.iter().sum::<f64>() / rates.len() as f64,
            paused: window.still > PAUSE.max(usual * PAUSES),
        }
    }

    /// Forgets the rate: it was in another state.
    pub(super) fn begin_anew(&mut self) {
        self.next = 0;
    }

    /// Learns from times that are shorter than what is normal.
    pub(super) fn learn_shorter(&mut self, times: &Times) {
        for (class, normal) in self.known(times) {
            let mean = class.sum_us as f64 / class.count as f64;
            if *normal == 0.0 {
                *normal = mean;
            } else if mean < *normal {
                *normal += (mean - *normal) * (class.count as f64 / ENOUGH).min(1.0);
            }
        }
    }

    /// Follows times that are longer without a queue.
    pub(super) fn learn_longer(&mut self, times: &Times) {
        for (class, normal) in self.known(times) {
            let mean = class.sum_us as f64 / class.count as f64;
            *normal += (mean - *normal).max(0.0) * DRIFT;
        }
    }

    /// All times are so many times longer: what looked like a queue was none.
    pub(super) fn accept(&mut self, ratio: f64) {
        self.by_class.iter_mut().for_each(|normal| *normal *= ratio);
    }
}
