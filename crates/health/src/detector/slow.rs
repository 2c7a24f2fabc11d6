//! Far slower than its peers at the same work, again and again; or slower and slower.
//!
//! A replica that throttles or swaps answers every probe, and every request, late. Its peers
//! tell what is normal at this moment, so that a wave of long prompts speaks against nobody.

use super::{Detector, Verdict};
use evenkeel_domain::health::Timed;
use evenkeel_domain::{Signal, SignalKind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many times its peers' time is too slow, whatever else.
const FACTOR: f64 = 5.0;
/// … and how many times makes it suspicious: requests that were hedged tell only the least
/// that they would have taken, which is about three times their peers' time.
const SUSPECT: f64 = 2.5;
/// A difference that no client notices is none.
const FLOOR: Duration = Duration::from_millis(50);
/// … between two tokens: fewer than 25 a second can be seen.
const TOKEN_FLOOR: Duration = Duration::from_millis(40);
/// Times below which a comparison says little.
const SAMPLES: u64 = 10;
/// Comparisons in a row that make the smaller difference one.
const AGAIN: u32 = 2;
/// How long a comparison stands.
const STANDS: Duration = Duration::from_secs(3);

/// Comparisons that make a trend, at least and at most (one a second) …
const TREND: std::ops::RangeInclusive<usize> = 6..=10;
/// … and the age of the oldest of them.
const TREND_AGE: Duration = Duration::from_secs(15);
/// Share of their pairs, in percent, in which the later one is worse (Kendall's τ of 0.8): one
/// odd second does not hide a trend.
const RISES: usize = 90;
/// It began at no more than so many times its peers' time: one that was always slower is just
/// another machine.
const BEGAN: f64 = 1.25;
/// It ends at so many times its peers' time at least, and at more where that comes of few
/// times: by 2.5 standard errors, where single times scatter by a factor of e.
const RISEN: f64 = 1.5;
const ERRORS: f64 = 2.5;
/// The part of the floors that is enough where it gets worse and worse.
const TREND_FLOOR: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Slow {
    answers: Course,
    tokens: Course,
}

/// How one kind of time went.
#[derive(Debug, Default)]
struct Course {
    slow: Option<(Instant, Duration, Duration)>,
    /// Comparisons in a row in which it was.
    times: u32,
    rising: Option<(Instant, Duration, Duration)>,
    /// Its time as a multiple of its peers', look by look.
    ratios: VecDeque<(Instant, f64)>,
}

impl Course {
    fn observe(
        &mut self,
        at: Instant,
        own: Duration,
        peers: Duration,
        samples: u64,
        floor: Duration,
    ) {
        let ratio = own.as_secs_f64() / peers.as_secs_f64().max(1e-6);
        let slow = samples >= SAMPLES && ratio > SUSPECT && own > peers + floor;
        self.slow = slow.then_some((at, own, peers));
        self.times = if slow { self.times.saturating_add(1) } else { 0 };
        if samples >= SAMPLES {
            if self.ratios.len() == *TREND.end() {
                self.ratios.pop_front();
            }
            self.ratios.push_back((at, ratio));
        }
        self.ratios.retain(|(then, _)| at.saturating_duration_since(*then) <= TREND_AGE);
        let noticed = own > peers + floor / TREND_FLOOR;
        let clear = ratio >= RISEN.max(1.0 + ERRORS / (samples.max(1) as f64).sqrt());
        let rising = samples >= SAMPLES && noticed && clear && self.rises();
        if rising || !noticed {
            self.rising = rising.then_some((at, own, peers));
        }
    }

    /// Whether the last of them are a trend.
    fn rises(&self) -> bool {
        let ratios: Vec<f64> = self.ratios.iter().map(|(_, ratio)| *ratio).collect();
        TREND.filter_map(|length| ratios.get(ratios.len().checked_sub(length)?..)).any(is_trend)
    }

    fn verdict(&self, what: &str, now: Instant) -> Verdict {
        let stands = |at: Instant| now.saturating_duration_since(at) <= STANDS;
        match (self.slow, self.rising) {
            (Some((at, own, peers)), _)
                if stands(at) && (own > peers.mul_f64(FACTOR) || self.times >= AGAIN) =>
            {
                let text = format!("{what} take {own:.1?} here and {peers:.1?} with its peers");
                match own > peers.mul_f64(FACTOR) {
                    true => Verdict::Strong(text),
                    false => Verdict::Suspicion(text),
                }
            }
            (_, Some((at, own, peers))) if stands(at) => Verdict::Suspicion(format!(
                "{what} take longer and longer: {own:.1?} here by now, {peers:.1?} with its peers"
            )),
            _ => Verdict::Clear,
        }
    }
}

/// Whether nearly each of these is more than those before it, from ordinary to too much.
fn is_trend(ratios: &[f64]) -> bool {
    let pairs = ratios.len() * ratios.len().saturating_sub(1) / 2;
    let later = |at: usize| ratios.iter().skip(at + 1).filter(move |l| **l > ratios[at]).count();
    let rises: usize = (0..ratios.len()).map(later).sum();
    ratios.first().is_some_and(|first| *first <= BEGAN) && rises * 100 >= pairs * RISES
}

impl Detector for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn observe(&mut self, signal: &Signal) {
        let SignalKind::Pace { of, own, peers, samples } = signal.kind else { return };
        let (course, floor) = match of {
            Timed::Answers => (&mut self.answers, FLOOR),
            Timed::Tokens => (&mut self.tokens, TOKEN_FLOOR),
        };
        course.observe(signal.at, own, peers, samples, floor);
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let (answers, tokens) =
            (self.answers.verdict("answers", now), self.tokens.verdict("tokens", now));
        match (&answers, &tokens) {
            (Verdict::Strong(_), _) | (_, Verdict::Clear) => answers,
            (Verdict::Clear, _) | (_, Verdict::Strong(_)) => tokens,
            _ => answers,
        }
    }

    fn reset(&mut self, _: Instant) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, signal};
    use super::*;

    fn pace(second: u64, of: Timed, own: u64, peers: u64, samples: u64) -> Signal {
        let ms = Duration::from_millis;
        signal(second * 1000, SignalKind::Pace { of, own: ms(own), peers: ms(peers), samples })
    }

    fn verdict(of: Timed, own: u64, peers: u64, samples: u64, after: u64) -> Verdict {
        let mut slow = Slow::default();
        slow.observe(&pace(0, of, own, peers, samples));
        slow.verdict(at(after))
    }

    #[test]
    fn only_far_slower_than_peers_and_not_by_chance() {
        assert!(matches!(verdict(Timed::Answers, 400, 20, 10, 0), Verdict::Strong(_)));
        assert!(matches!(verdict(Timed::Tokens, 180, 5, 10, 0), Verdict::Strong(_)));
        let mut slow = Slow::default();
        slow.observe(&pace(0, Timed::Answers, 160, 60, 30));
        assert_eq!(slow.verdict(at(1)), Verdict::Clear, "once");
        slow.observe(&pace(1, Timed::Answers, 160, 60, 30));
        assert!(matches!(slow.verdict(at(1001)), Verdict::Suspicion(_)));
        assert_eq!(verdict(Timed::Answers, 400, 20, 9, 0), Verdict::Clear);
        assert_eq!(verdict(Timed::Answers, 90, 20, 50, 0), Verdict::Clear);
        assert_eq!(verdict(Timed::Answers, 40, 2, 50, 0), Verdict::Clear);
        assert_eq!(verdict(Timed::Tokens, 30, 2, 50, 0), Verdict::Clear);
        assert_eq!(verdict(Timed::Answers, 400, 20, 10, 3001), Verdict::Clear);
    }

    fn course(own: impl Fn(u64) -> u64, peers: impl Fn(u64) -> u64) -> bool {
        let mut slow = Slow::default();
        (0..15).any(|s| {
            slow.observe(&pace(s, Timed::Answers, own(s), peers(s), 40));
            slow.verdict(at(s * 1000)) != Verdict::Clear
        })
    }

    #[test]
    fn ten_percent_a_second_is_seen_within_ten() {
        let rising = |s: u64| (200.0 * 1.1_f64.powi(i32::try_from(s).unwrap())) as u64;
        let mut slow = Slow::default();
        let seen = (0..10).find(|s| {
            slow.observe(&pace(*s, Timed::Answers, rising(*s), 200, 40));
            slow.verdict(at(s * 1000)) != Verdict::Clear
        });
        assert!(seen.is_some());
        assert!(course(|s| rising(s) + 15 * (s % 2), |_| 200), "it need not be smooth");
        assert!(!course(rising, rising), "a wave that meets all is nobody's fault");
        assert!(!course(|s| 200 + s, |_| 200), "a little is nothing");
        assert!(!course(|s| 200 + 200 * (s % 3), |_| 200), "noise is no trend");
        assert!(!course(|s| 400 + s, |_| 200), "always slower is another machine");
        let step = |s| if s < 8 { 200 } else { 420 };
        assert!(!course(step, |_| 200), "a step is none");
    }
}
