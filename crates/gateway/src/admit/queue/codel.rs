//! Whether those who wait wait because of a burst or because there is too much to do.
//!
//! CoDel's rule (Nichols and Jacobson, RFC 8289): a wait above the target is fine as long as
//! some wait within an interval is not. What CoDel does by dropping is done here by refusing
//! before anybody waits; so the state ends only when the waits have been short for a while.

use std::time::{Duration, Instant};

/// The two constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Law {
    pub(super) target: Duration,
    pub(super) interval: Duration,
}

/// The state of one tier.
#[derive(Debug, Default)]
pub(super) struct Codel {
    /// Since when every wait is above the target; in an overload since when every wait is
    /// below half of it.
    since: Option<Instant>,
    overloaded: bool,
    /// When somebody last waited.
    last: Option<Instant>,
}

impl Codel {
    /// Whether there is too much to do.
    pub(super) fn is_overloaded(&self, law: Law, now: Instant) -> bool {
        self.overloaded && !self.is_past(law, now)
    }

    /// Nobody has waited for so long that what was then says nothing of now.
    fn is_past(&self, law: Law, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) > law.interval)
    }

    /// A request has waited so long; nobody waits behind it when it was the `last`.
    pub(super) fn waited(&mut self, wait: Duration, last: bool, law: Law, now: Instant) {
        if self.is_past(law, now) {
            self.reset();
        }
        self.last = Some(now);
        let goes_on = match self.overloaded {
            false => wait >= law.target && !last,
            true => last || wait < law.target / 2,
        };
        if !goes_on {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= law.interval {
            self.overloaded = !self.overloaded;
            self.since = None;
        }
    }

    /// There is no replica: what waits now waits for another reason.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;

    const LAW: Law =
        Law { target: Duration::from_millis(100), interval: Duration::from_millis(1000) };

    fn run(codel: &mut Codel, from: Instant, ms: std::ops::Range<u64>, wait: u64) -> bool {
        let mut at = from;
        for ms in ms.step_by(50) {
            at = from + Duration::from_millis(ms);
            codel.waited(Duration::from_millis(wait), false, LAW, at);
        }
        codel.is_overloaded(LAW, at)
    }

    #[test]
    fn a_burst_is_none_and_a_standing_queue_is_an_overload() {
        let (mut codel, begin) = (Codel::default(), clock::now());
        assert!(!run(&mut codel, begin, 0..900, 500));
        assert!(!run(&mut codel, begin, 900..950, 99));
        assert!(!run(&mut codel, begin, 950..1900, 500));
        assert!(run(&mut codel, begin, 1900..2000, 500));
    }

    #[test]
    fn an_overload_ends_when_waits_stay_short() {
        let (mut codel, begin) = (Codel::default(), clock::now());
        run(&mut codel, begin, 0..1100, 500);
        run(&mut codel, begin, 1100..2000, 40);
        run(&mut codel, begin, 2000..2050, 60);
        assert!(run(&mut codel, begin, 2050..3000, 40));
        assert!(!run(&mut codel, begin, 3000..3100, 40));
    }

    #[test]
    fn what_is_long_past_is_none() {
        let (mut codel, begin) = (Codel::default(), clock::now());
        assert!(run(&mut codel, begin, 0..1100, 500));
        assert!(!codel.is_overloaded(LAW, begin + 3 * LAW.interval));
        assert!(!run(&mut codel, begin, 4000..4100, 500));
    }
}
