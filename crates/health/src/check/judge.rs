//! For how long it was so: from what each look says to what counts. Pure.
//!
//! ```text
//!   look    ok  CRIT CRIT CRIT CRIT  ok  CRIT  ok   ok   ok   ok
//!               └── for ──────┤               └── for ──────┤
//!   counts  ok   ok   ok   ok  CRIT ·················· CRIT  ok
//! ```
//! Each severity is a latch of its own: on once the looks were at least so bad for as long,
//! off once they were better for as long. A look without data neither starts nor breaks a
//! time; only when data stays away for as long it is unknown.

use evenkeel_domain::check::CheckState;
use std::time::{Duration, Instant};

/// What counts.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    lasting: Duration,
    warning: Latch,
    critical: Latch,
    missing: Latch,
    state: CheckState,
    /// Whether there was ever data.
    known: bool,
    /// Whether something certain made it critical.
    certain: bool,
}

/// On or off, and since when it would be the other.
#[derive(Debug, Clone, Copy, Default)]
struct Latch {
    on: bool,
    other_since: Option<Instant>,
}

impl Latch {
    fn see(&mut self, so: bool, lasting: Duration, now: Instant) {
        if so == self.on {
            self.other_since = None;
            return;
        }
        let since = *self.other_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= lasting {
            *self = Self { on: so, other_since: None };
        }
    }
}

impl Judge {
    pub(super) fn new(lasting: Duration) -> Self {
        let off = Latch::default();
        let state = CheckState::Unknown;
        Self {
            lasting,
            warning: off,
            critical: off,
            missing: off,
            state,
            known: false,
            certain: false,
        }
    }

    /// What counts now.
    pub(super) const fn state(&self) -> CheckState {
        self.state
    }

    /// Whether it is critical by something certain.
    pub(super) const fn is_certain(&self) -> bool {
        self.certain
    }

    /// Takes what a look says; gives what counts. What is `certain` counts at once, and so
    /// does its end.
    pub(super) fn look(&mut self, says: CheckState, certain: bool, now: Instant) -> CheckState {
        let lasting = if certain || self.certain { Duration::ZERO } else { self.lasting };
        let missing = says == CheckState::Unknown;
        // Data that is back is there: only its absence must last.
        let patience = if missing { self.lasting } else { Duration::ZERO };
        self.missing.see(missing, patience, now);
        if !missing {
            self.known = true;
            let critical = says == CheckState::Critical;
            self.certain = certain && critical;
            self.critical.see(critical, lasting, now);
            self.warning.see(critical || says == CheckState::Warning, lasting, now);
        }
        self.state = match () {
            () if self.missing.on || !self.known => CheckState::Unknown,
            () if self.critical.on => CheckState::Critical,
            () if self.warning.on => CheckState::Warning,
            () => CheckState::Ok,
        };
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::testing::at;
    use CheckState as S;
    use proptest::prelude::*;

    fn run(lasting_ms: u64, looks: &[(u64, S)]) -> Vec<S> {
        let mut judge = Judge::new(Duration::from_millis(lasting_ms));
        looks.iter().map(|(ms, says)| judge.look(*says, false, at(*ms))).collect()
    }

    #[test]
    fn it_counts_when_it_lasts_and_is_over_when_that_lasts() {
        let looks = [
            (0, S::Ok),
            (10, S::Critical),
            (20, S::Critical),
            (40, S::Critical),
            (50, S::Ok),
            (60, S::Critical),
            (70, S::Ok),
            (100, S::Warning),
            (130, S::Ok),
        ];
        let expected =
            [S::Ok, S::Ok, S::Ok, S::Critical, S::Critical, S::Critical, S::Critical, S::Warning];
        assert_eq!(run(30, &looks)[..8], expected);
        assert_eq!(run(0, &looks)[1], S::Critical, "without a time every look counts");
    }

    #[test]
    fn wavering_between_two_severities_is_at_least_the_lesser() {
        let looks: Vec<_> =
            (0..10).map(|n| (n * 10, if n % 2 == 0 { S::Warning } else { S::Critical })).collect();
        let got = run(30, &looks);
        assert_eq!(got[2], S::Ok);
        assert!(got[3..].iter().all(|s| *s == S::Warning), "{got:?}");
    }

    #[test]
    fn no_data_is_unknown_only_when_it_lasts_and_changes_nothing_else() {
        let looks = [
            (0, S::Unknown),
            (10, S::Critical),
            (20, S::Unknown),
            (40, S::Critical),
            (50, S::Unknown),
            (80, S::Unknown),
            (90, S::Critical),
        ];
        let expected =
            [S::Unknown, S::Ok, S::Ok, S::Critical, S::Critical, S::Unknown, S::Critical];
        assert_eq!(run(30, &looks), expected);
    }

    #[test]
    fn what_is_certain_counts_at_once_and_so_does_its_end() {
        let mut judge = Judge::new(Duration::from_secs(30));
        judge.look(S::Ok, false, at(0));
        assert_eq!(judge.look(S::Critical, true, at(1)), S::Critical);
        assert!(judge.look(S::Unknown, false, at(2)) == S::Critical && judge.is_certain());
        assert!(judge.look(S::Ok, false, at(3)) == S::Ok && !judge.is_certain());
        judge.look(S::Critical, true, at(4));
        let still = judge.look(S::Critical, false, at(5));
        assert!(still == S::Critical && !judge.is_certain(), "it is as bad, and not certain");
        assert_eq!(judge.look(S::Ok, false, at(6)), S::Critical);
        assert_eq!(judge.look(S::Ok, false, at(30_006)), S::Ok);
    }

    proptest! {
        #[test]
        fn critical_comes_and_goes_only_after_a_whole_time_of_it(
            looks in proptest::collection::vec((1u64..20, 0usize..4), 1..80),
        ) {
            let lasting = 30;
            let mut judge = Judge::new(Duration::from_millis(lasting));
            let mut now = 0;
            // Looks with data: when, and whether critical.
            let mut seen: Vec<(u64, bool)> = Vec::new();
            for (step, code) in looks {
                now += step;
                let says = S::ALL[code];
                let before = judge.critical.on;
                let counts = judge.look(says, false, at(now));
                if says == S::Unknown {
                    prop_assert_eq!(judge.critical.on, before);
                    continue;
                }
                prop_assert!(counts != S::Unknown);
                seen.push((now, says == S::Critical));
                let run: Vec<_> = seen.iter().rev().take_while(|(_, c)| *c != before).collect();
                let whole = run.last().is_some_and(|(since, _)| now - since >= lasting);
                prop_assert_eq!(judge.critical.on != before, whole);
            }
        }
    }
}
