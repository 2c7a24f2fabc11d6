//! A breaker for each channel: what fails again and again is left alone for a while, and then
//! tried with one message.

use evenkeel_domain::alert::Millis;

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// How long it rejects at first; it doubles each time that a trial fails.
const FIRST: Millis = 2_000;
/// The longest: an alert must not wait longer for a channel that is back.
const LONGEST: Millis = 30_000;

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything goes through.
    Admitting,
    /// Nothing does, until then.
    Rejecting(Millis),
    /// One call is under way that decides.
    Trial,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    failures: u32,
    pause: Millis,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Admitting, failures: 0, pause: FIRST }
    }
}

impl Breaker {
    /// Whether a call may be made now; where it was rejecting, this one is the trial.
    pub fn admits(&mut self, now: Millis) -> bool {
        match self.state {
            State::Admitting => true,
            State::Trial => false,
            State::Rejecting(until) if now < until => false,
            State::Rejecting(_) => {
                self.state = State::Trial;
                true
            }
        }
    }

    /// What came of it.
    pub fn ended(&mut self, good: bool, now: Millis) {
        if good {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.state == State::Trial {
            self.pause = (self.pause * 2).min(LONGEST);
        }
        if self.state == State::Trial || self.failures >= FAILURES {
            self.state = State::Rejecting(now + self.pause);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rejects_after_failures_in_a_row_and_one_trial_decides() {
        let mut breaker = Breaker::default();
        for now in 0..2 {
            assert!(breaker.admits(now));
            breaker.ended(false, now);
        }
        breaker.ended(true, 2);
        for now in 3..6 {
            assert!(breaker.admits(now));
            breaker.ended(false, now);
        }
        assert_eq!(breaker.state(), State::Rejecting(5 + FIRST));
        assert!(!breaker.admits(6));
        assert!(breaker.admits(5 + FIRST) && !breaker.admits(5 + FIRST), "one trial");
        breaker.ended(false, 3_000);
        assert_eq!(breaker.state(), State::Rejecting(3_000 + 2 * FIRST), "longer");
        assert!(breaker.admits(100_000));
        breaker.ended(true, 100_000);
        assert!(breaker.admits(100_001) && breaker.admits(100_001));
    }
}
