//! The rules in virtual time: a year within the budget in which nobody is paged, and outages of
//! which somebody is told.

use evenkeel_domain::slo::{Clocks, Severity, Slo, Taken, Tally};
use evenkeel_slo::account::{Accountant, Sample};
use evenkeel_slo::budget::Watch;
use evenkeel_slo::burn;
use std::collections::BTreeMap;
use std::time::Duration;

const YEAR: usize = 365 * 1440;

/// A year of minutes as sums from its beginning, so that any window of it is a difference.
struct Year(Vec<[u64; 4]>);

impl Year {
    fn of(mut minute: impl FnMut(usize) -> [u64; 4]) -> Self {
        let mut sums = vec![[0; 4]];
        for at in 0..YEAR {
            let (last, more) = (sums[at], minute(at));
            sums.push(std::array::from_fn(|n| last[n] + more[n]));
        }
        Self(sums)
    }

    fn window(&self, now: usize, span: Duration) -> Tally {
        let minutes = span.as_secs() as usize / 60;
        let (to, from) = (self.0[now], self.0[now.saturating_sub(minutes)]);
        let [good, bad, up_ms, down_ms] = std::array::from_fn(|n| to[n] - from[n]);
        Tally { good, bad, in_time: good, up_ms, down_ms, ..Tally::default() }
    }

    /// Minutes in which a rule asked for a page, and for a ticket.
    fn asked(&self, slo: &Slo) -> [usize; 2] {
        let mut asked = [0; 2];
        for now in 1..=YEAR {
            let fired = burn::judge(slo, |span| self.window(now, span));
            let worst = fired.iter().filter(|v| v.fires).map(|v| v.rule.severity).max();
            asked[0] += usize::from(worst == Some(Severity::Page));
            asked[1] += usize::from(worst == Some(Severity::Ticket));
        }
        asked
    }

    fn burn(&self, slo: &Slo) -> f64 {
        let t = self.window(YEAR, Duration::from_secs(YEAR as u64 * 60));
        let requests = t.bad as f64 / t.valid().max(1) as f64;
        let time = t.down_ms as f64 / (YEAR as f64 * 60_000.0);
        requests.max(time) / (1.0 - slo.objective())
    }
}

/// Poisson numbers: exact for small means, normal for large ones.
fn poisson(rng: &mut fastrand::Rng, mean: f64) -> u64 {
    if mean > 50.0 {
        let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        return (mean + normal * mean.sqrt()).round().max(0.0) as u64;
    }
    let (mut n, mut left) = (0, rng.f64());
    let end = (-mean).exp();
    while left > end {
        n += 1;
        left *= rng.f64();
    }
    n
}

#[test]
fn nobody_is_paged_in_a_year_below_burn_1() {
    let slo = Slo::default();
    for (seed, a_minute) in
        [0.05, 0.5, 1.0, 2.0, 4.0, 5.0, 10.0, 40.0, 600.0].into_iter().enumerate()
    {
        let mut rng = fastrand::Rng::with_seed(seed as u64 + 1);
        let year = Year::of(|at| {
            // Nights with a tenth of the traffic of days.
            let day = 0.55 - 0.45 * (at as f64 / 1440.0 * std::f64::consts::TAU).cos();
            let came = poisson(&mut rng, a_minute * day);
            let bad = poisson(&mut rng, came as f64 * 0.000_95).min(came);
            [came - bad, bad, 60_000, 0]
        });
        let [pages, tickets] = year.asked(&slo);
        println!(
            "{a_minute} a minute: burn {:.3}, {tickets} minutes with a ticket",
            year.burn(&slo)
        );
        assert_eq!(pages, 0, "{a_minute} requests a minute");
    }
}

#[test]
fn nobody_is_paged_for_a_year_of_short_outages_within_the_budget() {
    let slo = Slo::default();
    let mut rng = fastrand::Rng::with_seed(11);
    // Restarts of 1 to 20 s, with nobody asking: on average half of what is allowed.
    let year = Year::of(|_| {
        let down = if rng.f64() < 0.002_85 { rng.u64(1_000..20_000) } else { 0 };
        [0, 0, 60_000 - down, down]
    });
    let burn = year.burn(&slo);
    assert!((0.3..1.0).contains(&burn), "{burn}");
    assert_eq!(year.asked(&slo)[0], 0);
}

#[test]
fn a_slow_leak_is_a_ticket_and_a_fast_one_a_page() {
    let slo = Slo::default();
    for (share, page) in [(0.004, false), (0.02, true)] {
        let mut rng = fastrand::Rng::with_seed(3);
        let year = Year::of(|at| {
            // For two days in the middle of it.
            let failing = (200_000..202_880).contains(&at);
            let bad = if failing { poisson(&mut rng, 100.0 * share) } else { 0 };
            [100 - bad, bad, 60_000, 0]
        });
        let [pages, tickets] = year.asked(&slo);
        assert!((pages > 0) == page && tickets > 0, "{share}: {pages} {tickets}");
    }
}

fn clocks(ms: u64) -> Clocks {
    Clocks { boot: "a".into(), boot_ms: ms, wall_ms: 1_700_000_000_000 + ms }
}

/// Seconds from the beginning of a total outage until a page, with so many requests a minute;
/// `notices` is how long the health authority takes, `fails` how long a request is held before
/// it fails, `asks` whether anybody still asks during the outage.
fn paged_after(a_minute: u64, days_before: u64, notices: u64, fails: u64, asks: bool) -> u64 {
    let taken = Taken { epoch: 1, axis_ms: 1_700_000_000_000, gap_ms: 0 };
    let mut account = Accountant::new(&taken, &clocks(0), Vec::new());
    let (slo, mut watch) = (Slo::default(), Watch::default());
    let begins = days_before * 86_400;
    for second in 0..begins + 300 {
        let since = second.saturating_sub(begins);
        let out = second >= begins;
        let down = out && since >= notices;
        let now = clocks(second * 1000);
        let sample = if down { Sample::Down } else { Sample::Up };
        account.sample(&now, BTreeMap::from([("chat".into(), sample)]));
        let came = a_minute * (second + 1) / 60 - a_minute * second / 60;
        match out {
            false => account.count(&now, "chat", [came, 0, came]),
            true if asks && since >= fails => account.count(&now, "chat", [0, came, 0]),
            true => {}
        }
        if out {
            let at = account.at(&now);
            let window = |span| account.window("chat", at, span);
            let state = watch.look("chat", &slo, now.wall_ms, window);
            if state.severity() == Some(Severity::Page) {
                return since;
            }
        }
    }
    u64::MAX
}

#[test]
fn a_total_outage_is_paged_within_75_seconds() {
    for (a_minute, days) in [(0, 1), (1, 1), (3, 1), (30, 1), (600, 1), (600, 0), (0, 0), (6000, 2)]
    {
        for asks in [true, false] {
            let took = paged_after(a_minute, days, 3, 10, asks);
            println!(
                "{a_minute} requests a minute, after {days} days: paged after {took} s ({asks})"
            );
            assert!(took <= 75, "{a_minute} a minute: {took} s");
        }
    }
}

#[test]
fn a_moment_of_an_outage_is_no_page() {
    // Ten seconds after it began nobody can know how long it lasts.
    assert!(paged_after(0, 1, 3, 10, true).checked_sub(10).unwrap() > 30);
}
