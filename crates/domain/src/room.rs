//! How much a replica may be given at once, and what that is judged by.
//!
//! ```text
//! request path ── counts, times ──► Room ──► whoever finds the limit
//!      ▲                             │ ▲
//!      └──────── limit ──────────────┘ └── what the replica tells of its own queue
//! ```
//! Atomics only on the request path: one load to ask for a place, one addition for each
//! time to first token.

use crate::clock;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// Kinds of work whose times are comparable among themselves only.
pub const CLASSES: usize = 16;
/// In a class's word, the count stands above the sum of microseconds. 40 bits of them are
/// twelve days; the sum is taken ten times a second.
const COUNT_SHIFT: u32 = 40;
/// Longest time that is added: half an hour is longer than any deadline for a first byte.
const LONGEST_US: u64 = 1_800_000_000;

/// What a replica said of its own load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// Requests it works on.
    pub running: u32,
    /// Requests in its own queue.
    pub waiting: u32,
    /// How many it can work on, where it says so.
    pub slots: Option<u32>,
    /// Its cache is so full that it may have to stop what it works on.
    pub full: bool,
    /// Attempts that this gateway had under way there.
    pub ours: u32,
}

/// Times to first token of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Class {
    /// How many.
    pub count: u64,
    /// Their sum in microseconds, made comparable within the class.
    pub sum_us: u64,
}

/// Times to first token since they were last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// By class.
    pub classes: [Class; CLASSES],
    /// The sum of them all in microseconds, as they were.
    pub real_us: u64,
}

impl Times {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().map(|class| class.count).sum()
    }

    /// Their mean; zero when there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.real_us / self.count().max(1))
    }

    /// Adds one.
    pub fn add(&mut self, class: usize, comparable_us: u64, real_us: u64) {
        if let Some(class) = self.classes.get_mut(class) {
            class.count += 1;
            class.sum_us += comparable_us;
            self.real_us += real_us;
        }
    }

    /// Adds others.
    pub fn extend(&mut self, more: &Self) {
        for (sum, class) in self.classes.iter_mut().zip(&more.classes) {
            sum.count += class.count;
            sum.sum_us += class.sum_us;
        }
        self.real_us += more.real_us;
    }
}

/// The room of one replica.
#[derive(Debug, Default)]
pub struct Room {
    /// Attempts at once; 0 for no limit.
    limit: AtomicU32,
    /// The limit is what the replica can start, not only where the search for it stands.
    found: AtomicBool,
    /// Attempts under way whose answer has not begun.
    unanswered: AtomicU32,
    /// Times of attempts begun before this do not count (see [`clock::millis`]).
    ///
    /// [`clock::millis`]: crate::clock::millis
    since_ms: AtomicU64,
    times: [AtomicU64; CLASSES],
    real_us: AtomicU64,
    told: ArcSwapOption<Told>,
    /// When it last had a queue of its own (see [`clock::millis`]); 0 for never.
    ///
    /// [`clock::millis`]: crate::clock::millis
    queued_ms: AtomicU64,
}

impl Room {
    /// Attempts at once; 0 for no limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// Sets it. For whoever finds the limit only.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, SeqCst);
    }

    /// Whether the limit is what the replica can start: a queue was seen. Before that it is
    /// only how far the search for it has come.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.found.load(Relaxed)
    }

    /// Sets it. For whoever finds the limit only.
    pub fn set_found(&self, found: bool) {
        self.found.store(found, Relaxed);
    }

    /// Attempts under way whose answer has not begun.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.unanswered.load(Relaxed)
    }

    /// One of them more.
    pub fn asked(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// One of them less: its answer began, or it ended without.
    pub fn answered(&self) {
        self.unanswered.fetch_sub(1, Relaxed);
    }

    /// Times of attempts begun before this moment count no longer.
    pub fn count_from(&self, at_ms: u64) {
        self.since_ms.store(at_ms, Relaxed);
    }

    /// Takes a time to first token of an attempt begun at `began_ms`, comparable within its
    /// class and as it was. Classes beyond [`CLASSES`] are left out.
    pub fn record(&self, began_ms: u64, class: usize, comparable_us: u64, real_us: u64) {
        if began_ms < self.since_ms.load(Relaxed) {
            return;
        }
        if let Some(times) = self.times.get(class) {
            times.fetch_add((1 << COUNT_SHIFT) + comparable_us.min(LONGEST_US), Relaxed);
            self.real_us.fetch_add(real_us.min(LONGEST_US), Relaxed);
        }
    }

    /// Gives the times since the last call. For whoever finds the limit only.
    #[must_use]
    pub fn take_times(&self) -> Times {
        let class = |times: &AtomicU64| match times.load(Relaxed) {
            0 => Class::default(),
            _ => {
                let word = times.swap(0, Relaxed);
                Class { count: word >> COUNT_SHIFT, sum_us: word & ((1 << COUNT_SHIFT) - 1) }
            }
        };
        let classes = std::array::from_fn(|at| class(&self.times[at]));
        // One that is recorded just now may be in one sum only: of hundreds it is one.
        Times { classes, real_us: self.real_us.swap(0, Relaxed) }
    }

    /// What it last said of its own load.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        self.told.load().as_deref().copied()
    }

    /// At this moment it had more than it could start: what it answers late by then, it
    /// answers late for its queue. For whoever finds the limit only.
    pub fn set_queued(&self, now: Instant) {
        self.queued_ms.store(clock::millis(now), Relaxed);
    }

    /// Whether it had a queue of its own less than so long ago.
    #[must_use]
    pub fn was_queued(&self, now: Instant, within: Duration) -> bool {
        let at = self.queued_ms.load(Relaxed);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        at > 0 && clock::millis(now).saturating_sub(at) < within
    }

    /// It said so. For whoever asks it only.
    pub fn tell(&self, told: Option<Told>) {
        self.told.store(told.map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_once_and_old_ones_are_left_out() {
        let room = Room::default();
        room.record(10, 3, 500, 250);
        room.record(11, 3, 700, 350);
        room.record(11, CLASSES, 700, 700);
        let taken = room.take_times();
        assert_eq!(taken.classes[3], Class { count: 2, sum_us: 1200 });
        assert_eq!((taken.count(), taken.mean()), (2, Duration::from_micros(300)));
        assert_eq!(room.take_times(), Times::default());
        room.count_from(12);
        room.record(11, 3, 500, 500);
        room.record(12, 3, u64::MAX, 1);
        assert_eq!(room.take_times().classes[3], Class { count: 1, sum_us: LONGEST_US });
    }
}
