//! Which level a service is at: measures and `now` in, a level out. Pure.

use evenkeel_domain::answers::{Degrade, LEVEL_MAX};
use evenkeel_domain::settings::Tier;
use std::time::{Duration, Instant};

/// What is measured of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measures {
    /// Share of the replicas' room in use; `None` where none has a bound.
    pub load: Option<f64>,
    /// Requests on hold.
    pub held: u32,
    /// 99th percentile of recent times to first token.
    pub first_token: Option<Duration>,
    /// Share of recent requests that failed; `None` when there were too few.
    pub errors: Option<f64>,
}

impl Measures {
    /// The worst of all measures as a multiple of its threshold, and which it is.
    #[must_use]
    pub fn pressure(&self, settings: &Degrade) -> (f64, &'static str) {
        let ratio = |value: f64, limit: f64| if limit > 0.0 { value / limit } else { 0.0 };
        let first_token = self.first_token.zip(settings.first_token);
        let errors = self.errors.zip(settings.objective);
        let all = [
            (self.load.map_or(0.0, |load| ratio(load, settings.load)), "load"),
            (ratio(self.held.into(), settings.held.into()), "requests on hold"),
            (
                first_token.map_or(0.0, |(is, most)| ratio(is.as_secs_f64(), most.as_secs_f64())),
                "time to first token",
            ),
            (
                errors.map_or(0.0, |(is, objective)| ratio(is, (1.0 - objective) * settings.burn)),
                "errors",
            ),
        ];
        all.into_iter()
            .fold((0.0, "nothing"), |worst, one| if one.0 > worst.0 { one } else { worst })
    }
}

/// One service's level over time.
#[derive(Debug)]
pub struct Ladder {
    level: u8,
    /// When it was last changed.
    changed: Option<Instant>,
    pressed: Option<Instant>,
    relieved: Option<Instant>,
}

impl Ladder {
    /// At `level`, as an earlier process may have left it.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self { level: level.min(LEVEL_MAX), changed: None, pressed: None, relieved: None }
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Takes the pressure of `now` in; gives the new level when it changes. `order`: by hand.
    pub fn step(
        &mut self,
        pressure: f64,
        order: Option<u8>,
        tier: Tier,
        settings: &Degrade,
        now: Instant,
    ) -> Option<u8> {
        if let Some(level) = order {
            (self.pressed, self.relieved) = (None, None);
            return self.enter(level.min(LEVEL_MAX), now);
        }
        let held_since = |since: &mut Option<Instant>, holds: bool| {
            if !holds {
                *since = None;
                return Duration::ZERO;
            }
            now.saturating_duration_since(*since.get_or_insert(now))
        };
        let pressed = held_since(&mut self.pressed, pressure >= 1.0);
        let relieved = held_since(&mut self.relieved, pressure < settings.relief);
        let rise = match tier {
            Tier::Core => settings.rise * 2,
            Tier::BestEffort => settings.rise,
        };
        if self.pressed.is_some() && pressed >= rise && self.level < settings.max_level {
            self.pressed = None;
            return self.enter(self.level + 1, now);
        }
        let kept = self.changed.map_or(settings.dwell, |at| now.saturating_duration_since(at));
        if self.relieved.is_some()
            && self.level > 0
            && relieved >= settings.dwell
            && kept >= settings.dwell
        {
            self.relieved = None;
            return self.enter(self.level - 1, now);
        }
        None
    }

    fn enter(&mut self, level: u8, now: Instant) -> Option<u8> {
        if level == self.level {
            return None;
        }
        (self.level, self.changed) = (level, Some(now));
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;

    /// Plays (second, pressure, order) and gives the level after each.
    fn play(tier: Tier, script: &[(u64, f64, Option<u8>)]) -> Vec<u8> {
        let (start, settings) = (clock::now(), Degrade::default());
        let mut ladder = Ladder::new(0);
        let steps = script.iter().map(|(at, pressure, order)| {
            ladder.step(*pressure, *order, tier, &settings, start + Duration::from_secs(*at));
            ladder.level()
        });
        steps.collect()
    }

    /// What is shown, (second, pressure) of each step, the level after each.
    type Case<'a> = (&'a str, &'a [(u64, f64)], &'a [u8]);

    #[test]
    fn levels_are_entered_and_left_in_their_time() {
        let auto = |script: &[(u64, f64)]| {
            let script: Vec<_> = script.iter().map(|(at, p)| (*at, *p, None)).collect();
            play(Tier::BestEffort, &script)
        };
        let table: [Case<'_>; 5] = [
            ("a moment is no pressure", &[(0, 2.0), (4, 2.0), (5, 0.9), (6, 2.0)], &[0, 0, 0, 0]),
            (
                "it rises one by one",
                &[(0, 1.0), (5, 1.0), (6, 9.0), (10, 9.0), (11, 9.0)],
                &[0, 1, 1, 1, 2],
            ),
            (
                "between the thresholds nothing moves",
                &[(0, 1.0), (5, 1.0), (40, 0.8), (400, 0.8)],
                &[0, 1, 1, 1],
            ),
            (
                "relief must last",
                &[(0, 1.0), (5, 1.0), (10, 0.1), (39, 0.1), (40, 0.1), (41, 0.1)],
                &[0, 1, 1, 1, 0, 0],
            ),
            (
                "relief that is interrupted begins anew",
                &[(0, 1.0), (5, 1.0), (10, 0.1), (30, 0.8), (31, 0.1), (60, 0.1), (61, 0.1)],
                &[0, 1, 1, 1, 1, 1, 0],
            ),
        ];
        for (what, script, expected) in table {
            assert_eq!(auto(script), expected, "{what}");
        }
    }

    #[test]
    fn core_goes_last_and_nobody_beyond_the_top() {
        let press = |n: u64| (0..n).map(|at| (at, 5.0, None)).collect::<Vec<_>>();
        assert_eq!(play(Tier::BestEffort, &press(11)).last(), Some(&1));
        assert_eq!(play(Tier::Core, &press(10)).last(), Some(&0));
        assert_eq!(play(Tier::Core, &press(11)).last(), Some(&1));
        assert_eq!(play(Tier::BestEffort, &press(200)).last(), Some(&6));
    }

    #[test]
    fn an_order_holds_at_once_and_then_levels_are_left_in_time() {
        let got = play(
            Tier::Core,
            &[
                (0, 0.0, Some(4)),
                (1, 9.0, Some(4)),
                (2, 0.0, None),
                (31, 0.0, None),
                (32, 0.0, None),
            ],
        );
        assert_eq!(got, [4, 4, 4, 4, 3]);
    }

    #[test]
    fn the_worst_measure_counts() {
        let mut settings = Degrade {
            first_token: Some(Duration::from_secs(2)),
            objective: Some(0.99),
            ..Degrade::default()
        };
        let quiet = Measures { load: Some(0.5), ..Measures::default() };
        assert!(quiet.pressure(&settings).0 < settings.relief);
        let table = [
            (Measures { load: Some(0.95), ..quiet }, "load"),
            (Measures { held: 50, ..quiet }, "requests on hold"),
            (
                Measures { first_token: Some(Duration::from_secs(2)), ..quiet },
                "time to first token",
            ),
            (Measures { errors: Some(0.2), ..quiet }, "errors"),
        ];
        for (measures, which) in table {
            let (pressure, what) = measures.pressure(&settings);
            assert!(pressure >= 1.0 && what == which, "{which}: {pressure} {what}");
        }
        (settings.first_token, settings.objective) = (None, None);
        assert!(table[2].0.pressure(&settings).0 < 1.0 && table[3].0.pressure(&settings).0 < 1.0);
    }
}
