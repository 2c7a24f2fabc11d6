//! What is left of an error budget, and when it is used up at the present burn.

use crate::burn::{self, MIN_BAD};
use crate::ledger::Window;
use evenkeel_domain::slo::{BudgetState, Exhausted, Firing, Sli, Slo};
use std::collections::BTreeMap;
use std::time::Duration;

/// Over which time the present burn is measured.
pub const PRESENT: Duration = Duration::from_secs(3600);
/// … and over which it must still go on for a budget to be said to run out.
const STILL: Duration = Duration::from_secs(300);

/// What is left of the budget of what is measured: 1 is all of it, below 0 is overdrawn. By
/// time the budget is that of the whole window, by requests that of those that came.
///
/// `None` where too few came for a failure to mean anything, or there is no objective.
#[must_use]
pub fn left(slo: &Slo, sli: Sli, window: &Window) -> Option<f64> {
    let objective = burn::objective(slo, sli)?;
    let (bad, all) = burn::events(sli, &window.tally, slo.window);
    let allowed = (1.0 - objective) * all;
    let known = match sli {
        Sli::Time => window.tally.known_ms() > 0,
        _ => all > 0.0 && (bad == 0.0 || allowed >= 1.0 || bad >= MIN_BAD as f64),
    };
    known.then(|| if bad == 0.0 { 1.0 } else { 1.0 - bad / allowed })
}

/// Remembers since when rules fire.
#[derive(Debug, Default)]
pub struct Watch {
    firing: BTreeMap<(&'static str, Sli), u64>,
}

impl Watch {
    /// Where the budget of a service stands. `window` gives what was counted in the last so
    /// long, `unix_ms` is what the wall clock says.
    pub fn look(
        &mut self,
        service: &str,
        slo: &Slo,
        unix_ms: u64,
        window: impl Fn(Duration) -> Window,
    ) -> BudgetState {
        let verdicts = burn::judge(slo, |span| window(span).tally);
        let fired: Vec<_> = verdicts.into_iter().filter(|verdict| verdict.fires).collect();
        let names: Vec<_> = fired.iter().map(|v| (v.rule.name, v.sli)).collect();
        self.firing.retain(|key, _| names.contains(key));
        let firing = fired.into_iter().map(|v| Firing {
            rule: v.rule.name,
            severity: v.rule.severity,
            sli: v.sli,
            long: v.long,
            short: v.short,
            since_unix_ms: *self.firing.entry((v.rule.name, v.sli)).or_insert(unix_ms),
        });
        let firing = firing.collect();
        let whole = window(slo.window);
        let lefts = Sli::ALL.iter().filter_map(|sli| left(slo, *sli, &whole));
        let present = window(PRESENT).tally;
        let rates = Sli::ALL.iter().filter_map(|sli| burn::rate(slo, *sli, &present, PRESENT));
        BudgetState {
            service: service.to_owned(),
            objective: slo.objective(),
            left: lefts.reduce(f64::min),
            burn: rates.fold(0.0, f64::max),
            firing,
            exhausted: exhausted(slo, unix_ms, &window),
        }
    }
}

/// When the first budget is used up at the present burn: while it is used faster than allowed,
/// or is used up already. Failures that grow old and leave the window are not counted on.
fn exhausted(slo: &Slo, unix_ms: u64, window: impl Fn(Duration) -> Window) -> Option<Exhausted> {
    let whole = window(slo.window);
    let (present, still) = (window(PRESENT).tally, window(STILL).tally);
    let one = |sli: &Sli| {
        let left = left(slo, *sli, &whole)?;
        let what = format!("error budget by {}", sli.label());
        if left <= 0.0 {
            let text = format!("{what} is used up");
            return Some(Exhausted { at_unix_ms: unix_ms, sli: *sli, text });
        }
        let rate = burn::rate(slo, *sli, &present, PRESENT)?;
        let goes_on = burn::rate(slo, *sli, &still, STILL)? >= 1.0;
        if rate < 1.0 || !goes_on {
            return None;
        }
        let time = slo.window.mul_f64(left / rate);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let text = format!("{what} is used up in about {} at the present burn", about(time));
        Some(Exhausted { at_unix_ms: unix_ms.saturating_add(ms), sli: *sli, text })
    };
    Sli::ALL.iter().filter_map(one).min_by_key(|exhausted| exhausted.at_unix_ms)
}

/// A time as people say it, in its two largest parts.
#[must_use]
pub fn about(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::slo::{Severity, Tally};

    fn window(tally: Tally) -> Window {
        Window { tally, elapsed_ms: tally.known_ms() }
    }

    fn minutes(n: u64) -> u64 {
        n * 60_000
    }

    #[test]
    fn half_of_it_is_half_of_43_minutes() {
        let slo = Slo::default();
        let down = window(Tally { down_ms: 1_296_000, up_ms: 1, ..Tally::default() });
        assert!((left(&slo, Sli::Time, &down).unwrap() - 0.5).abs() < 1e-9);
        let bad = window(Tally { good: 99_950, bad: 50, in_time: 99_950, ..Tally::default() });
        assert!((left(&slo, Sli::Requests, &bad).unwrap() - 0.5).abs() < 1e-9);
        let over = window(Tally { good: 1000, bad: 50, ..Tally::default() });
        assert!(left(&slo, Sli::Requests, &over).unwrap() < 0.0);
        // One failure among five is no budget overdrawn 200 times.
        assert_eq!(
            left(&slo, Sli::Requests, &window(Tally { good: 4, bad: 1, ..Tally::default() })),
            None
        );
        assert_eq!(left(&slo, Sli::Requests, &window(Tally::default())), None);
        assert_eq!(left(&slo, Sli::Latency, &over), None);
    }

    #[test]
    fn it_says_when_it_is_used_up_and_since_when_it_burns() {
        let (slo, mut watch) = (Slo::default(), Watch::default());
        // Down for two minutes, and it goes on: 33 times what is allowed over an hour.
        let down =
            |_| window(Tally { down_ms: minutes(2), up_ms: minutes(58), ..Tally::default() });
        let state = watch.look("chat", &slo, 1_000, down);
        assert_eq!(state.severity(), Some(Severity::Page));
        assert!((state.burn - 33.3).abs() < 0.1, "{}", state.burn);
        let out = state.exhausted.unwrap();
        // 95.4 % of 30 days' budget at 33.3 times the pace: some 20.6 hours.
        assert!(out.at_unix_ms.abs_diff(1_000 + minutes(1236)) < minutes(2), "{out:?}");
        assert!(out.text.contains("by time is used up in about 20 h"), "{}", out.text);
        let later = watch.look("chat", &slo, 61_000, down);
        assert_eq!(later.firing[0].since_unix_ms, 1_000, "since it began");
        let calm =
            watch.look("chat", &slo, 62_000, |_| window(Tally { up_ms: 1, ..Tally::default() }));
        assert!(calm.firing.is_empty() && calm.exhausted.is_none() && calm.left == Some(1.0));
        let anew = watch.look("chat", &slo, 99_000, down);
        assert_eq!(anew.firing[0].since_unix_ms, 99_000);
        let spent = |_| window(Tally { down_ms: minutes(50), up_ms: 1, ..Tally::default() });
        let state = watch.look("chat", &slo, 5, spent);
        assert_eq!(
            state.exhausted.map(|e| (e.at_unix_ms, e.text)),
            Some((5, "error budget by time is used up".into()))
        );
    }

    #[test]
    fn nothing_known_is_no_budget() {
        let state = Watch::default().look("chat", &Slo::default(), 1, |_| Window::default());
        assert_eq!((state.left, state.burn, state.exhausted), (None, 0.0, None));
    }
}
