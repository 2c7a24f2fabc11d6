//! Where we are on the account's axis, and whether somebody has stepped the wall clock.
//!
//! The axis goes on by the machine's own clock, which nobody can step. The wall clock is read
//! only to name moments to people, and to notice that it was stepped.

use evenkeel_domain::slo::{Axis, Clocks, Taken};

/// A wall clock that differs by more than this from one look to the next was stepped; NTP's
/// slewing moves it by half a millisecond a second.
const STEP_MS: i64 = 1_000;

/// The axis of one process.
#[derive(Debug, Clone)]
pub struct AxisClock {
    axis_ms: Axis,
    boot_ms: u64,
    /// Wall clock minus machine clock, at the last look.
    offset: i64,
}

fn offset(now: &Clocks) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(now.wall_ms).saturating_sub(signed(now.boot_ms))
}

impl AxisClock {
    /// The axis as it was taken over at `now`.
    #[must_use]
    pub fn new(taken: &Taken, now: &Clocks) -> Self {
        Self { axis_ms: taken.axis_ms, boot_ms: now.boot_ms, offset: offset(now) }
    }

    /// Where the axis is.
    #[must_use]
    pub fn at(&self, now: &Clocks) -> Axis {
        self.axis_ms.saturating_add(now.boot_ms.saturating_sub(self.boot_ms))
    }

    /// By how many milliseconds the wall clock was stepped since the last look.
    pub fn step(&mut self, now: &Clocks) -> Option<i64> {
        let step = offset(now).saturating_sub(self.offset);
        self.offset = offset(now);
        (step.saturating_abs() > STEP_MS).then_some(step)
    }

    /// What the wall clock of `now` calls a moment of the axis, in milliseconds since the
    /// Unix epoch.
    #[must_use]
    pub fn unix_ms(&self, at: Axis, now: &Clocks) -> u64 {
        let here = self.at(now);
        if at > here {
            return now.wall_ms.saturating_add(at - here);
        }
        now.wall_ms.saturating_sub(here - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(boot_ms: u64, wall_ms: u64) -> Clocks {
        Clocks { boot: "a".into(), boot_ms, wall_ms }
    }

    #[test]
    fn a_step_is_noticed_once_and_moves_nothing() {
        let taken = Taken { epoch: 1, axis_ms: 1_000_000, gap_ms: 0 };
        let mut axis = AxisClock::new(&taken, &clocks(500, 7_200_000));
        assert_eq!(axis.step(&clocks(1_500, 7_201_000)), None);
        let ahead = clocks(2_500, 7_202_000 + 3_600_000);
        assert_eq!(axis.step(&ahead), Some(3_600_000));
        assert_eq!(axis.step(&ahead), None);
        assert_eq!(axis.at(&ahead), 1_002_000);
        let back = clocks(3_500, 7_203_000);
        assert_eq!(axis.step(&back), Some(-3_600_000));
        assert_eq!(axis.at(&back), 1_003_000);
        // Slewing is no step.
        assert_eq!(axis.step(&clocks(4_500, 7_204_500)), None);
        assert_eq!(axis.unix_ms(1_002_000, &back), 7_202_000);
        assert_eq!(axis.unix_ms(1_004_000, &back), 7_204_000);
    }
}
