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
const FACTOR: u32 = 5;
/// … and how many times makes it suspicious: requests that were hedged tell only the least
/// that they would have taken.
const SUSPECT: u32 = 3;
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

/// Comparisons in a row, each worse than the one before, that are a trend …
const RISES: usize = 5;
/// … when they end at so many times its peers' time, and it began at no more than `BEGAN`: one
/// that was always slower is just another machine.
const RISEN: f64 = 1.5;
const BEGAN: f64 = 1.25;
/// Times below which a trend is noise.
const TREND_SAMPLES: u64 = 20;

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
    ratios: VecDeque<f64>,
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
        let noticed = own > peers + floor;
        let slow = samples >= SAMPLES && own > peers * SUSPECT && noticed;
        self.slow = slow.then_some((at, own, peers));
        self.times = if slow { self.times.saturating_add(1) } else { 0 };
        if samples < TREND_SAMPLES {
            self.ratios.clear();
        }
        if self.ratios.len() > RISES {
            self.ratios.pop_front();
        }
        self.ratios.push_back(own.as_secs_f64() / peers.as_secs_f64().max(1e-6));
        let rising = noticed && samples >= TREND_SAMPLES && self.rises();
        if rising || !noticed {
            self.rising = rising.then_some((at, own, peers));
        }
    }

    fn rises(&self) -> bool {
        let ratios = &self.ratios;
        ratios.len() > RISES
            && ratios.iter().zip(ratios.iter().skip(1)).all(|(a, b)| a < b)
            && ratios.front().is_some_and(|first| *first <= BEGAN)
            && ratios.back().is_some_and(|last| *last >= RISEN)
    }

    fn verdict(&self, what: &str, now: Instant) -> Verdict {
        let stands = |at: Instant| now.saturating_duration_since(at) <= STANDS;
        match (self.slow, self.rising) {
            (Some((at, own, peers)), _)
                if stands(at) && (own > peers * FACTOR || self.times >= AGAIN) =>
            {
                let text = format!("{what} take {own:.1?} here and {peers:.1?} with its peers");
                match own > peers * FACTOR {
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
        slow.observe(&pace(0, Timed::Answers, 160, 45, 30));
        assert_eq!(slow.verdict(at(1)), Verdict::Clear, "once");
        slow.observe(&pace(1, Timed::Answers, 160, 45, 30));
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
        assert!(!course(rising, rising), "a wave that meets all is nobody's fault");
        assert!(!course(|s| 200 + s, |_| 200), "a little is nothing");
        assert!(!course(|s| 200 + 200 * (s % 3), |_| 200), "noise is no trend");
        assert!(!course(|s| 500 + s, |_| 200), "always slower is another machine");
    }
}
