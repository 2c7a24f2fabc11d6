//! Availability by time and by request, and what an objective allows.
//!
//! By time it is up / (up + down), which in the long run is MTBF / (MTBF + MTTR) with MTBF the
//! mean time *up* between failures (IEC 60050-192). By request it is good / valid. They differ:
//! an outage at night costs much of the first and little of the second, so both are shown.

use crate::Bad;
use crate::bad::{positive, share};
use std::time::Duration;

/// A year as service levels count it: 365 days, 8,760 hours.
pub const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Share of the time that was up; `None` where none is known.
#[must_use]
pub fn by_time(up: Duration, down: Duration) -> Option<f64> {
    let all = up.as_secs_f64() + down.as_secs_f64();
    (all > 0.0).then(|| up.as_secs_f64() / all)
}

/// Share of the valid requests that were answered well; `None` where there were none.
#[must_use]
pub fn by_requests(good: u64, valid: u64) -> Option<f64> {
    (valid > 0).then(|| good.min(valid) as f64 / valid as f64)
}

/// Availability from the mean time up between failures and the mean time to repair.
///
/// # Errors
/// When the time between failures is zero.
pub fn by_means(mtbf: Duration, mttr: Duration) -> Result<f64, Bad> {
    let up = positive("mtbf", mtbf.as_secs_f64())?;
    Ok(up / (up + mttr.as_secs_f64()))
}

/// How long may be down within `period` at this availability.
///
/// # Errors
/// When `availability` is no share.
pub fn allowed(availability: f64, period: Duration) -> Result<Duration, Bad> {
    let down = 1.0 - share("availability", availability)?;
    Ok(period.mul_f64(down))
}

/// Availability of a period in which so much was down.
///
/// # Errors
/// When the period is zero or shorter than what was down.
pub fn of_period(down: Duration, period: Duration) -> Result<f64, Bad> {
    positive("period", period.as_secs_f64())?;
    if down > period {
        return Err(Bad::new("down", "longer than the period it lies in"));
    }
    Ok(1.0 - down.as_secs_f64() / period.as_secs_f64())
}

/// How many nines an availability has: 3 for 0.999. Infinite for 1.
///
/// # Errors
/// When `availability` is no share.
pub fn nines(availability: f64) -> Result<f64, Bad> {
    Ok(-(1.0 - share("availability", availability)?).log10())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn percent(down: Duration) -> f64 {
        of_period(down, YEAR).unwrap() * 100.0
    }

    fn is(found: f64, right: f64, digits: i32) -> bool {
        (found - right).abs() < 0.5 * 10f64.powi(-digits)
    }

    #[test]
    fn an_hour_a_year() {
        assert!(is(percent(HOUR), 99.9886, 4), "{}", percent(HOUR));
        // Figures in circulation for the same hour.
        for wrong in [99.997, 99.9998] {
            assert!(!is(percent(HOUR), wrong, 4) && !is(percent(HOUR), wrong, 3));
        }
    }

    #[test]
    fn five_minutes_a_year() {
        let five = percent(5 * MINUTE);
        assert!(is(five, 99.99905, 5), "{five}");
        assert!(!is(five, 99.9994, 4), "another figure in circulation");
    }

    #[test]
    fn what_four_and_three_nines_allow() {
        let minutes = allowed(0.9999, YEAR).unwrap().as_secs_f64() / 60.0;
        assert!(is(minutes, 52.6, 1), "{minutes}");
        let hours = allowed(0.999, YEAR).unwrap().as_secs_f64() / 3600.0;
        assert!(is(hours, 8.76, 2), "{hours}");
        // "99.99 % means running at least 98.76 days a year".
        let runs = (YEAR - allowed(0.9999, YEAR).unwrap()).as_secs_f64() / 86_400.0;
        assert!(!is(runs, 98.76, 1) && is(runs, 364.96, 2), "{runs}");
        // 30 days at 99.9 %: the usual budget.
        let budget = allowed(0.999, Duration::from_secs(30 * 86_400)).unwrap();
        assert!(is(budget.as_secs_f64(), 2592.0, 3));
    }

    #[test]
    fn no_formula_without_a_meaning_gives_the_same() {
        // A = 1 - (1 - At)^(1/T) is found in texts. It has no sound meaning, and is not here:
        // what is here differs from it.
        let (at, t) = (0.99, 24.0f64);
        let found = by_time(Duration::from_secs(99), Duration::from_secs(1)).unwrap();
        assert!((found - (1.0 - (1.0f64 - at).powf(1.0 / t))).abs() > 0.1);
        assert!(is(found, 0.99, 9));
    }

    #[test]
    fn nothing_known_is_no_availability() {
        assert_eq!(by_time(Duration::ZERO, Duration::ZERO), None);
        assert_eq!(by_requests(0, 0), None);
        assert!(by_means(Duration::ZERO, HOUR).is_err());
        assert!(of_period(2 * HOUR, HOUR).is_err() && of_period(HOUR, Duration::ZERO).is_err());
        assert!(allowed(1.2, YEAR).is_err() && nines(f64::NAN).is_err());
        assert!(is(nines(0.999).unwrap(), 3.0, 9) && nines(1.0).unwrap().is_infinite());
    }

    proptest! {
        #[test]
        fn means_and_sums_agree(up in 1u64..10_000_000, down in 0u64..10_000_000, n in 1u32..50) {
            let (up, down) = (Duration::from_secs(up), Duration::from_secs(down));
            let sums = by_time(up * n, down * n).unwrap();
            let means = by_means(up, down).unwrap();
            prop_assert!((sums - means).abs() < 1e-12);
        }

        #[test]
        fn what_is_allowed_gives_the_objective_back(a in 0.0f64..=1.0, secs in 60u64..100_000_000) {
            let period = Duration::from_secs(secs);
            let back = of_period(allowed(a, period).unwrap(), period).unwrap();
            prop_assert!((back - a).abs() < 1e-9);
        }
    }
}
