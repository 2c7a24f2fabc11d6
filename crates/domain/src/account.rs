//! What was asked for on somebody's account, and how much more may be.
//!
//! ```text
//!        now                    tat                       now + 1 minute
//!  ───────┼──────────────────────┼──────────────────────────────┼──────►
//!         └──── taken of it ─────┘└──────── still to be had ─────┘
//! ```
//! A [`Bucket`] is one number: the time at which all that was taken will have come back (the
//! "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371). Taking moves
//! it on, giving back moves it home, and time itself refills. One compare-and-swap makes it
//! exact over all threads, and it knows nothing of the rate: that may change with a reload.

use crate::clock;
use crate::settings::Quota;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// Parts of a nanosecond that are counted: at the highest rate one unit is 3840 of them, and
/// 64 bits last for nine years of a process.
const TICKS_PER_NANO: u64 = 64;
/// A minute.
const MINUTE: u64 = 60_000_000_000 * TICKS_PER_NANO;

/// A moment on the buckets' scale.
fn ticks(now: Instant) -> u64 {
    clock::nanos(now).saturating_mul(TICKS_PER_NANO)
}

fn time(ticks: u64) -> Duration {
    // Up: who comes after this time must find what it waited for.
    Duration::from_nanos(ticks.div_ceil(TICKS_PER_NANO))
}

/// Ticks that one unit takes to come back. Rounded up: never more than the rate is given.
fn unit(per_minute: u64) -> u64 {
    MINUTE.div_ceil(per_minute.max(1))
}

/// What was taken of so much a minute. Holds as much as comes in a minute.
#[derive(Debug, Default)]
pub struct Bucket {
    tat: AtomicU64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The most it holds.
    pub limit: u64,
    /// What can be taken now.
    pub remaining: u64,
    /// When it will be full again.
    pub reset: Duration,
}

impl Bucket {
    /// Takes `cost` of `per_minute`.
    ///
    /// # Errors
    /// With the time after which there is so much, as long as nobody else takes it. Never,
    /// when `cost` is more than it holds: ask before.
    pub fn take(&self, per_minute: u64, cost: u64, now: Instant) -> Result<(), Duration> {
        let (now, unit) = (ticks(now), unit(per_minute));
        let full = unit.saturating_mul(per_minute);
        let mut wait = 0;
        let taken = self.tat.fetch_update(Relaxed, Relaxed, |tat| {
            let new = tat.max(now).saturating_add(unit.saturating_mul(cost));
            wait = (new - now).saturating_sub(full);
            (wait == 0).then_some(new)
        });
        taken.map(drop).map_err(|_| time(wait))
    }

    /// Takes what was used already, whether it is there or not: what is missing must come
    /// back before anything else can be taken.
    pub fn owe(&self, per_minute: u64, cost: u64, now: Instant) {
        let cost = unit(per_minute).saturating_mul(cost);
        let now = ticks(now);
        let owed = |tat: u64| Some(tat.max(now).saturating_add(cost));
        let _ = self.tat.fetch_update(Relaxed, Relaxed, owed);
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, per_minute: u64, cost: u64) {
        let cost = unit(per_minute).saturating_mul(cost);
        let _ = self.tat.fetch_update(Relaxed, Relaxed, |tat| Some(tat.saturating_sub(cost)));
    }

    /// What it holds.
    #[must_use]
    pub fn level(&self, per_minute: u64, now: Instant) -> Level {
        let unit = unit(per_minute);
        let taken = self.tat.load(Relaxed).saturating_sub(ticks(now));
        let free = unit.saturating_mul(per_minute).saturating_sub(taken);
        Level { limit: per_minute, remaining: free / unit, reset: time(taken) }
    }
}

/// The live side of a key, a tenant or a service that is limited; the same across reloads.
#[derive(Debug)]
pub struct Account {
    /// Whose it is.
    pub name: Arc<str>,
    /// Requests taken.
    pub requests: Bucket,
    /// Tokens taken.
    pub tokens: Bucket,
    streams: AtomicU32,
    /// What was asked for.
    pub counts: AccountCounts,
}

/// What was asked for since the process started.
#[derive(Debug, Default)]
pub struct AccountCounts {
    /// Requests taken on.
    pub requests: AtomicU64,
    /// Requests refused for a limit, its own or one that it shares.
    pub refused: AtomicU64,
    /// Tokens of prompts.
    pub prompt_tokens: AtomicU64,
    /// Tokens of answers.
    pub completion_tokens: AtomicU64,
}

impl Account {
    /// With nothing taken.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            requests: Bucket::default(),
            tokens: Bucket::default(),
            streams: AtomicU32::new(0),
            counts: AccountCounts::default(),
        }
    }

    /// Streams under way.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// Counts a stream in, where there is room for it.
    #[must_use]
    pub fn enter_stream(&self, most: Option<u32>) -> bool {
        let most = most.unwrap_or(u32::MAX);
        let one_more = |n: u32| (n < most).then_some(n + 1);
        self.streams.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Counts a stream out.
    pub fn leave_stream(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    /// Requests that may still be made, where they are limited.
    #[must_use]
    pub fn requests_left(&self, quota: &Quota, now: Instant) -> Option<Level> {
        quota.requests_per_minute.map(|rate| self.requests.level(rate, now))
    }

    /// Tokens that may still be used, where they are limited.
    #[must_use]
    pub fn tokens_left(&self, quota: &Quota, now: Instant) -> Option<Level> {
        quota.tokens_per_minute.map(|rate| self.tokens.level(rate, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A moment when the process' own time has begun.
    fn start() -> Instant {
        clock::now() + Duration::from_secs(1)
    }

    fn at(begin: Instant, ms: u64) -> Instant {
        begin + Duration::from_millis(ms)
    }

    #[test]
    fn as_much_as_a_minute_brings_and_then_one_by_one() {
        for rate in [1, 7, 60, 1000, Quota::MOST_PER_MINUTE - 63] {
            let (bucket, begin) = (Bucket::default(), start());
            bucket.take(rate, rate, begin).unwrap();
            assert_eq!(bucket.level(rate, begin).remaining, 0, "{rate}");
            let wait = bucket.take(rate, 1, begin).unwrap_err();
            assert!(wait <= Duration::from_secs(60), "{rate}: {wait:?}");
            assert!(bucket.take(rate, 1, begin + wait - Duration::from_nanos(1)).is_err());
            bucket.take(rate, 1, begin + wait).unwrap();
            assert!(bucket.take(rate, 1, begin + wait).is_err());
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (bucket, now) = (Bucket::default(), start());
        bucket.take(10, 10, now).unwrap();
        bucket.give_back(10, 4);
        assert_eq!(bucket.level(10, now).remaining, 4);
        assert_eq!(bucket.level(10, now).reset, Duration::from_secs(36));
        bucket.take(10, 4, now).unwrap();
        assert!(bucket.take(10, 1, now).is_err());
        bucket.give_back(10, 1000);
        assert_eq!(bucket.level(10, now).remaining, 10, "no more than it holds");
    }

    #[test]
    fn what_is_owed_comes_first() {
        let (bucket, now) = (Bucket::default(), start());
        bucket.owe(60, 90, now);
        assert_eq!(bucket.level(60, now).remaining, 0);
        assert_eq!(bucket.take(60, 1, now), Err(Duration::from_secs(31)));
        bucket.take(60, 1, now + Duration::from_secs(31)).unwrap();
    }

    #[test]
    fn streams_are_counted_in_and_out() {
        let account = Account::new("a");
        assert!(account.enter_stream(Some(2)) && account.enter_stream(Some(2)));
        assert!(!account.enter_stream(Some(2)));
        assert!(account.enter_stream(None), "what is not limited is counted");
        account.leave_stream();
        account.leave_stream();
        assert!(account.enter_stream(Some(2)) && !account.enter_stream(Some(2)));
        assert_eq!(account.streams(), 2);
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        const RATE: u64 = 1000;
        let (account, now) = (Account::new("a"), start());
        let take = || (0..RATE).filter(|_| account.requests.take(RATE, 1, now).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Take(u64),
        /// Gives back a part, in percent, of something taken before.
        Settle(usize, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000u64).prop_map(Step::Wait),
            (1..60u64).prop_map(Step::Take),
            (any::<usize>(), 0..=100u64).prop_map(|(which, part)| Step::Settle(which, part)),
        ]
    }

    proptest! {
        #[test]
        fn never_more_than_a_minute_holds_and_time_brings(
            rate in 1..200u64,
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let (bucket, begin) = (Bucket::default(), start());
            let (mut ms, mut used, mut taken) = (0, 0, Vec::new());
            for step in steps {
                match step {
                    Step::Wait(more) => ms += more,
                    Step::Take(cost) => {
                        let before = bucket.level(rate, at(begin, ms)).remaining;
                        let got = bucket.take(rate, cost, at(begin, ms));
                        prop_assert_eq!(got.is_ok(), cost <= before, "the level tells the truth");
                        if got.is_ok() {
                            used += cost;
                            taken.push(cost);
                        }
                    }
                    Step::Settle(which, part) if !taken.is_empty() => {
                        let at = which % taken.len();
                        let back = taken.swap_remove(at) * part / 100;
                        bucket.give_back(rate, back);
                        used -= back;
                    }
                    Step::Settle(..) => {}
                }
                prop_assert!(u128::from(used) * 60_000
                    <= u128::from(rate) * (60_000 + u128::from(ms)));
            }
        }

        #[test]
        fn a_wait_that_was_told_is_enough(rate in 1..5000u64, first in 1..5000u64, cost in 1..5000u64) {
            let (bucket, now) = (Bucket::default(), start());
            let (first, cost) = (first.min(rate), cost.min(rate));
            bucket.take(rate, first, now).unwrap();
            if let Err(wait) = bucket.take(rate, cost, now) {
                prop_assert!(bucket.take(rate, cost, now + wait).is_ok());
            }
        }
    }
}
