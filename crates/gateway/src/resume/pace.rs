//! How long a stream may be silent: from what this model does, not from a fixed number.

use evenkeel_domain::Pool;
use std::time::Duration;

/// Multiple of the 99th percentile of gaps that counts as silence.
const SILENT: u32 = 5;
/// Shortest silence for which another replica is asked beside the silent one.
const RACE_MIN: Duration = Duration::from_millis(300);
/// The same while nothing is known of this model's gaps.
const RACE_UNKNOWN: Duration = Duration::from_millis(1500);
/// Shortest silence that is held against the replica.
const STALL_MIN: Duration = Duration::from_secs(2);

/// Limits for the gap between two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Silence after which another replica is asked, too.
    pub(crate) race: Duration,
    /// Silence that is a fault.
    pub(crate) stall: Duration,
}

impl Pace {
    /// For a service whose setting allows `idle` between two pieces at most.
    pub(crate) fn of(pool: &Pool, idle: Duration) -> Self {
        Self::from(pool.expected_gap(), idle)
    }

    fn from(p99: Option<Duration>, idle: Duration) -> Self {
        let Some(p99) = p99 else {
            return Self { race: RACE_UNKNOWN.min(idle), stall: STALL_MIN.min(idle) };
        };
        let silent = p99.saturating_mul(SILENT);
        Self { race: silent.max(RACE_MIN).min(idle), stall: silent.max(STALL_MIN).min(idle) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_and_ceilings() {
        let idle = Duration::from_secs(30);
        let ms = Duration::from_millis;
        let of = |p99: u64| Pace::from(Some(ms(p99)), idle);
        assert_eq!(of(5), Pace { race: ms(300), stall: ms(2000) });
        assert_eq!(of(200), Pace { race: ms(1000), stall: ms(2000) });
        assert_eq!(of(1000), Pace { race: ms(5000), stall: ms(5000) });
        assert_eq!(of(20_000), Pace { race: idle, stall: idle });
        assert_eq!(Pace::from(None, ms(500)), Pace { race: ms(500), stall: ms(500) });
    }
}
