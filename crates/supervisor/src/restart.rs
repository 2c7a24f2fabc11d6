//! When to start again what has ended. Pure: events and `now` in, decisions out.
//!
//! ```text
//!   end no.      1     2     3     4     5     6  …      (none of them settled)
//!   wait         0    1 s   2 s   4 s   8 s  60 s …
//!                                              └ more than 5 ends in 60 s: crash loop
//! ```
//!
//! The first restart is immediate: most crashes are single ones, and every second of
//! waiting is a second of lost capacity. The waits grow because a server that ends
//! again and again costs its node the load of starting it. A run that had **settled**
//! (was ready for a while) is restarted at once however long the history is, since its
//! end says nothing about the chance of the next start.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The numbers behind the decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// The wait before the second restart; it doubles from there.
    pub base: Duration,
    /// The longest wait, jitter aside; also the wait in a crash loop.
    pub cap: Duration,
    /// The share of a wait that jitter may add (0.1: up to a tenth more).
    pub jitter: f64,
    /// A run that was ready for at least this long is restarted at once.
    pub settled_after: Duration,
    /// A run that was ready for at least this long wipes the slate clean.
    pub reset_after: Duration,
    /// More ends than this within `crash_loop_window` are a crash loop.
    pub crash_loop_exits: usize,
    /// See `crash_loop_exits`.
    pub crash_loop_window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            jitter: 0.1,
            settled_after: Duration::from_secs(10),
            reset_after: Duration::from_secs(600),
            crash_loop_exits: 5,
            crash_loop_window: Duration::from_secs(60),
        }
    }
}

/// What to do about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// How long to wait before the next start.
    pub wait: Duration,
    /// Whether this is held to be a crash loop.
    pub crash_loop: bool,
}

/// The history of one instance's ends, as far as it matters.
#[derive(Debug, Clone, Default)]
pub struct RestartHistory {
    streak: u32,
    ends: VecDeque<Instant>,
    crash_loop: bool,
}

impl RestartHistory {
    /// Whether the instance is held to be in a crash loop. That lasts until a run
    /// settles or a person intervenes ([`Self::clear`]); time alone does not end it.
    #[must_use]
    pub fn crash_loop(&self) -> bool {
        self.crash_loop
    }

    /// Forgets everything: a person restarted it, or its spec changed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A run ended at `now` that nobody had asked to end. `ready_since` tells since
    /// when it had been ready, if it ever was; `jitter` is a random number in 0..1.
    pub fn on_end(
        &mut self,
        policy: &RestartPolicy,
        ready_since: Option<Instant>,
        now: Instant,
        jitter: f64,
    ) -> Decision {
        let ready_for = ready_since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let settled = ready_since.is_some() && ready_for >= policy.settled_after;
        if settled && ready_for >= policy.reset_after {
            self.clear();
        }
        self.remember(policy, now);
        if settled {
            self.crash_loop = false;
            self.streak = self.streak.max(1);
            return Decision { wait: Duration::ZERO, crash_loop: false };
        }
        self.streak = self.streak.saturating_add(1);
        self.crash_loop |= self.ends.len() > policy.crash_loop_exits;
        let wait = with_jitter(policy, self.base_wait(policy), jitter);
        Decision { wait, crash_loop: self.crash_loop }
    }

    fn remember(&mut self, policy: &RestartPolicy, now: Instant) {
        let recent = |at: &Instant| now.saturating_duration_since(*at) <= policy.crash_loop_window;
        self.ends.retain(recent);
        self.ends.push_back(now);
        // One more than the limit decides; older ones cannot change the answer.
        while self.ends.len() > policy.crash_loop_exits.saturating_add(1) {
            self.ends.pop_front();
        }
    }

    fn base_wait(&self, policy: &RestartPolicy) -> Duration {
        if self.crash_loop {
            return policy.cap;
        }
        match self.streak {
            0 | 1 => Duration::ZERO,
            // 2^31 is beyond every cap; a larger shift would overflow.
            n => policy.base.saturating_mul(1 << (n - 2).min(31)).min(policy.cap),
        }
    }
}

fn with_jitter(policy: &RestartPolicy, wait: Duration, jitter: f64) -> Duration {
    let share = (policy.jitter * jitter).clamp(0.0, 1.0);
    if share.is_nan() { wait } else { wait + wait.mul_f64(share) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// (the run's length, its time being ready) → (wait in s, crash loop)
    type Row = (u64, Option<u64>, u64, bool);

    fn play(rows: &[Row]) {
        let policy = RestartPolicy::default();
        let mut history = RestartHistory::default();
        let mut now = evenkeel_domain::clock::now();
        for (i, &(ran, ready, wait, crash_loop)) in rows.iter().enumerate() {
            let ready_since = ready.map(|ready| now + secs(ran) - secs(ready));
            now += secs(ran);
            let decision = history.on_end(&policy, ready_since, now, 0.0);
            assert_eq!(decision, Decision { wait: secs(wait), crash_loop }, "row {i}");
            now += decision.wait;
        }
    }

    #[test]
    fn first_restart_is_immediate_then_the_wait_doubles_to_the_cap() {
        let row = |wait| (20, None, wait, false);
        play(&[row(0), row(1), row(2), row(4), row(8), row(16), row(32), row(60), row(60)]);
    }

    #[test]
    fn six_ends_in_a_minute_are_a_crash_loop_until_a_run_settles() {
        let fails = |wait, looping| (1, None, wait, looping);
        let (a, b, c) = (fails(0, false), fails(1, false), fails(2, false));
        let (d, e, f) = (fails(4, false), fails(8, false), fails(60, true));
        // Still a loop on the next end, a minute later; over after ten ready seconds.
        play(&[a, b, c, d, e, f, f, (30, Some(9), 60, true), (12, Some(10), 0, false)]);
    }

    #[test]
    fn a_settled_run_is_restarted_at_once_but_the_streak_stays() {
        play(&[(1, None, 0, false), (40, None, 1, false), (40, None, 2, false)]);
        play(&[(70, None, 0, false), (70, None, 1, false), (70, Some(60), 0, false)]);
        play(&[
            (70, None, 0, false),
            (70, None, 1, false),
            (70, Some(60), 0, false),
            (9, None, 2, false),
        ]);
    }

    #[test]
    fn ten_clean_minutes_reset() {
        play(&[
            (70, None, 0, false),
            (70, None, 1, false),
            (700, Some(600), 0, false),
            (9, None, 1, false),
        ]);
    }

    #[test]
    fn killed_every_eleven_seconds_it_is_always_back_at_once() {
        play(&[(11, Some(10), 0, false); 40]);
    }

    proptest! {
        #[test]
        fn waits_keep_to_their_bounds(
            runs in prop::collection::vec((0u64..100, prop::option::of(0u64..1000), 0.0f64..1.0), 1..60),
        ) {
            let policy = RestartPolicy::default();
            let mut history = RestartHistory::default();
            let mut now = evenkeel_domain::clock::now() + secs(10_000);
            let mut streak = 0u32;
            for (i, (ran, ready, jitter)) in runs.into_iter().enumerate() {
                now += secs(ran);
                let since = ready.map(|ready| now - secs(ready));
                let decision = history.on_end(&policy, since, now, jitter);
                let settled = ready.is_some_and(|ready| ready >= 10);
                if ready.is_some_and(|ready| ready >= 600) { streak = 0; }
                if settled {
                    streak = streak.max(1);
                    prop_assert_eq!(decision.wait, Duration::ZERO);
                } else {
                    streak += 1;
                    let floor = if streak == 1 { 0 } else { (1u64 << (streak - 2).min(20)).min(60) };
                    prop_assert!(decision.wait >= secs(floor), "end {} waited {:?}", i, decision.wait);
                }
                prop_assert!(decision.wait <= policy.cap.mul_f64(1.0 + policy.jitter));
                now += decision.wait;
            }
        }
    }
}
