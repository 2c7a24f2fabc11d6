//! Burn-rate rules: how many times faster than allowed the error budget is used, over a long
//! and a short window at once (after Google's SRE workbook, chapter 5). The long window says
//! that it matters, the short one that it still goes on.
//!
//! | burn | windows | asks for | uses up of 30 days' budget |
//! |---|---|---|---|
//! | 14.4 | 1 h, 5 min | a page | 2 % |
//! | 6 | 6 h, 30 min | a page | 5 % |
//! | 3 | 1 d, 2 h | a ticket | 10 % |
//! | 1 | 3 d, 6 h | a ticket | 10 % |

use evenkeel_domain::slo::{Severity, Sli, Slo, Tally};
use std::time::Duration;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Names it to people and in metrics.
    pub name: &'static str,
    /// From which burn on.
    pub factor: f64,
    /// The window that says that it matters.
    pub long: Duration,
    /// The window that says that it goes on.
    pub short: Duration,
    /// What it asks for.
    pub severity: Severity,
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// All rules, the most urgent first.
pub const RULES: [Rule; 4] = [
    Rule {
        name: "14.4x/1h",
        factor: 14.4,
        long: minutes(60),
        short: minutes(5),
        severity: Severity::Page,
    },
    Rule {
        name: "6x/6h",
        factor: 6.0,
        long: minutes(360),
        short: minutes(30),
        severity: Severity::Page,
    },
    Rule {
        name: "3x/1d",
        factor: 3.0,
        long: minutes(1440),
        short: minutes(120),
        severity: Severity::Ticket,
    },
    Rule {
        name: "1x/3d",
        factor: 1.0,
        long: minutes(4320),
        short: minutes(360),
        severity: Severity::Ticket,
    },
];

/// Failures that the long window of a rule must hold: fewer may be chance. With it, nobody is
/// paged in simulated years of requests that fail at random within the budget, from three
/// requests an hour to ten a second (`tests/year.rs`).
pub const MIN_BAD: u64 = 12;
/// Requests that must have ended well within the short window while no replica took traffic,
/// for them to speak against an outage seen by time.
pub const MIN_SERVED: u64 = 10;

/// How many times faster than the objective allows a share of something fails. An objective of
/// everything allows nothing: any failure burns without bound.
fn burn(bad: f64, all: f64, objective: f64) -> f64 {
    if all <= 0.0 || bad <= 0.0 {
        return 0.0;
    }
    bad / all / (1.0 - objective)
}

/// Failures and all of what is measured by `sli`.
#[must_use]
pub fn events(sli: Sli, tally: &Tally, span: Duration) -> (f64, f64) {
    match sli {
        Sli::Requests => (tally.bad as f64, tally.valid() as f64),
        // Of the whole window, so that a service that is known since a minute is not called
        // down for an hour after two seconds.
        Sli::Time => (tally.down_ms as f64, span.as_secs_f64() * 1e3),
        Sli::Latency => (tally.good.saturating_sub(tally.in_time) as f64, tally.good as f64),
    }
}

/// The objective of what is measured; `None` where there is none.
#[must_use]
pub fn objective(slo: &Slo, sli: Sli) -> Option<f64> {
    match sli {
        Sli::Requests | Sli::Time => Some(slo.objective()),
        Sli::Latency => slo.latency_objective(),
    }
}

/// The burn of what is measured over a window; `None` where there is no objective.
#[must_use]
pub fn rate(slo: &Slo, sli: Sli, tally: &Tally, span: Duration) -> Option<f64> {
    let objective = objective(slo, sli)?;
    let (bad, all) = events(sli, tally, span);
    Some(burn(bad, all, objective))
}

/// What a rule says of one thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The rule.
    pub rule: &'static Rule,
    /// What is measured.
    pub sli: Sli,
    /// Burn over the long window.
    pub long: f64,
    /// Burn over the short window.
    pub short: f64,
    /// Whether it asks for somebody.
    pub fires: bool,
}

/// What all rules say. `window` gives what was counted in the last so long.
///
/// By requests and by latency a rule needs [`MIN_BAD`] failures in its long window. By time it
/// needs none: it is there for when nobody asks. It is silent while requests say that clients
/// are served all the same, as by a fallback: those that ended while it was down.
pub fn judge(slo: &Slo, window: impl Fn(Duration) -> Tally) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(RULES.len() * Sli::ALL.len());
    for rule in &RULES {
        let (long, short) = (window(rule.long), window(rule.short));
        for sli in Sli::ALL {
            let rates = rate(slo, sli, &long, rule.long).zip(rate(slo, sli, &short, rule.short));
            let Some((of_long, of_short)) = rates else { continue };
            let enough = match sli {
                Sli::Time => {
                    let meanwhile = short.good_down.saturating_add(short.bad) as f64;
                    let fails = burn(short.bad as f64, meanwhile, slo.objective());
                    short.good_down < MIN_SERVED || fails >= rule.factor
                }
                _ => events(sli, &long, rule.long).0 >= MIN_BAD as f64,
            };
            let fires = enough && of_long >= rule.factor && of_short >= rule.factor;
            verdicts.push(Verdict { rule, sli, long: of_long, short: of_short, fires });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(slo: &Slo, window: impl Fn(Duration) -> Tally) -> Vec<(&'static str, Sli)> {
        let all = judge(slo, window).into_iter().filter(|v| v.fires);
        all.map(|v| (v.rule.name, v.sli)).collect()
    }

    fn requests(good: u64, bad: u64) -> Tally {
        Tally { good, bad, in_time: good, ..Tally::default() }
    }

    #[test]
    fn both_windows_and_a_minimum_are_needed() {
        let slo = Slo::default();
        let hour = Duration::from_secs(3600);
        // 1.5 % fail: 15 times what is allowed, everywhere.
        let all = fires(&slo, |_| requests(985, 15));
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(fires(&slo, |_| requests(4, 1)).is_empty(), "one of five is chance");
        // Over: the short windows are clean again.
        let over = |span| if span < hour { requests(100, 0) } else { requests(985, 15) };
        let names: Vec<_> = fires(&slo, over).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["3x/1d", "1x/3d"]);
        assert!(fires(&slo, |_| requests(1_000_000, 999)).is_empty(), "just within");
    }

    #[test]
    fn time_speaks_when_nobody_asks_and_is_silent_when_clients_are_served() {
        let slo = Slo::default();
        let down = |_| Tally { down_ms: 52_000, ..Tally::default() };
        assert_eq!(fires(&slo, down), [("14.4x/1h", Sli::Time)]);
        let served = |_| Tally { down_ms: 52_000, good_down: 10, ..requests(10, 0) };
        assert!(fires(&slo, served).is_empty());
        let few = |_| Tally { down_ms: 52_000, good_down: 9, ..requests(9, 0) };
        assert_eq!(fires(&slo, few).len(), 1);
        // What was answered before says nothing of an outage in which nobody asks.
        let before = |_| Tally { down_ms: 52_000, ..requests(10_000, 0) };
        assert_eq!(fires(&slo, before).len(), 1);
        let refused = |_| Tally { down_ms: 52_000, good_down: 10, ..requests(10, 1) };
        assert_eq!(fires(&slo, refused).len(), 1, "served, but not all of them");
    }

    #[test]
    fn latency_burns_a_budget_of_its_own() {
        let slo = Slo { latency: Some(Duration::from_secs(2)), ..Slo::default() };
        let late = |_| Tally { good: 100, in_time: 20, ..Tally::default() };
        let all = fires(&slo, late);
        assert!(all.contains(&("14.4x/1h", Sli::Latency)), "{all:?}");
        assert!(fires(&Slo::default(), late).is_empty(), "no objective, no burn");
    }
}
