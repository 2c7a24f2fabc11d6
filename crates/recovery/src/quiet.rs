//! When little is asked of a service: from its own load. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks between two values that are kept.
const KEEP_EVERY: u32 = 10;
/// Values that are kept: a day of one each ten seconds.
const KEPT: usize = 8640;
/// Values before anything is said of quiet times.
const ENOUGH: usize = 30;
/// Weight of a look in the moving mean: what is over within seconds is no quiet time.
const WEIGHT: f64 = 0.1;
/// So little is nothing.
const NOTHING: f64 = 0.05;

/// The load of one service, looked at once a second.
#[derive(Debug, Clone, Default)]
pub struct Load {
    mean: f64,
    looks: u32,
    past: VecDeque<f64>,
}

impl Load {
    /// Takes how many requests are under way.
    pub fn observe(&mut self, under_way: u32) {
        let now = f64::from(under_way);
        self.mean = if self.looks == 0 { now } else { self.mean + WEIGHT * (now - self.mean) };
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(KEEP_EVERY) {
            if self.past.len() == KEPT {
                self.past.pop_front();
            }
            self.past.push_back(self.mean);
        }
    }

    /// Whether there is as little to do as in the quietest tenth of the past day.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        if self.mean < NOTHING && self.looks >= KEEP_EVERY {
            return true;
        }
        if self.past.len() < ENOUGH {
            return false;
        }
        let mut past: Vec<f64> = self.past.iter().copied().collect();
        let tenth = past.len() / 10;
        let (_, low, _) = past.select_nth_unstable_by(tenth, f64::total_cmp);
        self.mean <= *low
    }

    /// Whether something is to be done now that must be done within `left`, told `within`
    /// ahead: at a quiet time, and once a quarter of the time is left in any case. Gives why.
    #[must_use]
    pub fn due(&self, left: Duration, within: Duration) -> Option<&'static str> {
        if left <= within / 4 {
            return Some("there is no time left to wait for a quieter hour");
        }
        self.is_quiet().then_some("it is a quiet time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_night_is_quiet_and_a_day_is_not() {
        let mut load = Load::default();
        let mut quiet = [0u32; 2];
        for second in 0..2 * 86_400u32 {
            let night = second % 86_400 < 3 * 3600;
            load.observe(if night { 2 } else { 20 + second % 7 });
            if second > 86_400 && second % 60 == 0 {
                quiet[usize::from(night)] += u32::from(load.is_quiet());
            }
        }
        assert!(quiet[1] > 60 && quiet[0] <= 1, "{quiet:?}");
    }

    #[test]
    fn without_a_quiet_time_it_is_done_while_there_is_time() {
        let mut load = Load::default();
        assert_eq!(load.due(5 * HOUR, 6 * HOUR), None, "nothing is known");
        (0..20).for_each(|_| load.observe(9));
        assert_eq!(load.due(2 * HOUR, 6 * HOUR), None);
        assert!(load.due(HOUR, 6 * HOUR).is_some());
        (0..100).for_each(|_| load.observe(0));
        assert!(load.due(5 * HOUR, 6 * HOUR).is_some(), "nobody asks");
    }
}
