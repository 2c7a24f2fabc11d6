//! The profile of a day, used where it explains a series better than its level does.

/// Parts of a day.
const PARTS: usize = 48;
const DAY: u64 = 86_400;
/// What is left of a part's past after each of its values.
const KEEPS: f64 = 0.97;
/// … and of past errors.
const KEEPS_ERRORS: f64 = 0.999;
/// Share of the level's squared error below which the profile is better.
const BETTER: f64 = 0.7;
/// A profile says something once it is so old, in seconds.
const MATURE: u64 = 2 * DAY;

#[derive(Debug)]
pub(super) struct Season {
    /// Weighted sum and weight of each part.
    parts: [(f64, f64); PARTS],
    since: Option<u64>,
    error: f64,
    error_without: f64,
}

impl Default for Season {
    fn default() -> Self {
        Self { parts: [(0.0, 0.0); PARTS], since: None, error: 0.0, error_without: 0.0 }
    }
}

fn part(at: u64) -> usize {
    ((at % DAY) * PARTS as u64 / DAY) as usize
}

impl Season {
    /// How far from the level a value is expected at this time; `seen`: how far it is.
    pub(super) fn expected(&mut self, at: u64, seen: f64) -> f64 {
        let since = *self.since.get_or_insert(at);
        let (sum, weight) = self.parts[part(at)];
        if at.saturating_sub(since) <= MATURE || weight < 0.5 {
            return 0.0;
        }
        let profile = sum / weight;
        self.error = self.error * KEEPS_ERRORS + (seen - profile).powi(2);
        self.error_without = self.error_without * KEEPS_ERRORS + seen * seen;
        if self.error < BETTER * self.error_without { profile } else { 0.0 }
    }

    /// A value so far from the level was normal at this time.
    pub(super) fn learn(&mut self, at: u64, seen: f64) {
        let (sum, weight) = &mut self.parts[part(at)];
        *sum = *sum * KEEPS + seen;
        *weight = *weight * KEEPS + 1.0;
    }
}
