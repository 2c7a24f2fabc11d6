//! How long a recovery takes, how much it loses, how often to save.

use crate::Bad;
use crate::bad::positive;
use std::time::Duration;

/// What a recovery consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Until it is known.
    pub detect: Duration,
    /// Until it is known what to do.
    pub decide: Duration,
    /// Until it is done.
    pub restore: Duration,
    /// Until it is known to have helped.
    pub verify: Duration,
}

/// RTO = detect + decide + restore + verify. How often backups are made has no part in it:
/// "recovery time = restore time / backup frequency" is wrong.
#[must_use]
pub fn rto(phases: Phases) -> Duration {
    let Phases { detect, decide, restore, verify } = phases;
    [detect, decide, restore, verify].into_iter().fold(Duration::ZERO, Duration::saturating_add)
}

/// RPO = time between recovery points + the time until a copy is where it is safe.
#[must_use]
pub fn rpo(between_points: Duration, copy_lag: Duration) -> Duration {
    between_points.saturating_add(copy_lag)
}

/// How many bytes are lost at most, at so many written a second.
///
/// # Errors
/// When the rate is negative or no number.
pub fn rpo_bytes(rpo: Duration, bytes_per_second: f64) -> Result<u64, Bad> {
    if !(bytes_per_second.is_finite() && bytes_per_second >= 0.0) {
        return Err(Bad::new("change_rate", "must be 0 or more bytes a second"));
    }
    Ok((rpo.as_secs_f64() * bytes_per_second).round() as u64)
}

/// How often to save: √(2 · T_fail · T_save) (Young 1974). Right while a save is short beside
/// the time between failures.
///
/// # Errors
/// When one is zero, or a save takes longer than half of the time between failures: then
/// the approximation means nothing.
pub fn checkpoint_interval(between_failures: Duration, save: Duration) -> Result<Duration, Bad> {
    let fail = positive("mtbf", between_failures.as_secs_f64())?;
    let save = positive("save", save.as_secs_f64())?;
    if save * 2.0 > fail {
        let why = "a save takes longer than half of the time between failures: save faster first";
        return Err(Bad::new("save", why));
    }
    Ok(Duration::from_secs_f64((2.0 * fail * save).sqrt()))
}

/// Share of the work that saving and doing again costs at that interval: T_save/T + T/(2·T_fail).
///
/// # Errors
/// When a time is zero.
pub fn checkpoint_cost(every: Duration, fail: Duration, save: Duration) -> Result<f64, Bad> {
    let every = positive("every", every.as_secs_f64())?;
    let fail = positive("mtbf", fail.as_secs_f64())?;
    Ok(save.as_secs_f64() / every + every / (2.0 * fail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn time_and_loss_are_sums() {
        let phases =
            Phases { detect: secs(3), decide: secs(2), restore: secs(300), verify: secs(10) };
        assert_eq!(rto(phases), secs(315));
        // Restore time / backup frequency would have been 300 s / (24 a day): no time at all.
        assert_ne!(rto(phases), secs(300 / 24));
        assert_eq!(rpo(secs(3600), secs(60)), secs(3660));
        assert_eq!(rpo_bytes(secs(3660), 1e6).unwrap(), 3_660_000_000);
        assert!(rpo_bytes(secs(1), -1.0).is_err() && rpo_bytes(secs(1), f64::NAN).is_err());
        assert_eq!(rto(Phases { detect: Duration::MAX, ..phases }), Duration::MAX);
    }

    #[test]
    fn youngs_interval() {
        // 419 interruptions in 54 days, saves of 30 s.
        let between = secs(54 * 86_400 / 419);
        let every = checkpoint_interval(between, secs(30)).unwrap();
        assert!((every.as_secs_f64() - 817.3).abs() < 1.0, "{every:?}");
        assert!(checkpoint_interval(secs(10), secs(6)).is_err());
        assert!(checkpoint_interval(secs(0), secs(6)).is_err());
    }

    proptest! {
        #[test]
        fn no_other_interval_costs_less(fail in 1000u64..10_000_000, save in 1u64..400, by in 0.2f64..5.0) {
            let (fail, save) = (secs(fail), secs(save));
            let best = checkpoint_interval(fail, save).unwrap();
            let cost = |every| checkpoint_cost(every, fail, save).unwrap();
            prop_assert!(cost(best) <= cost(best.mul_f64(by)) + 1e-12);
        }
    }
}
