//! What to do next: pure. Events and `now` in, decisions out.
//!
//! ```text
//!   Progress (one batch)          pick (all batches)
//!   ├ lines: done, under way,     └ whose lines are sent at all:
//!   │        to be tried again,      the owner with the fewest first,
//!   │        not yet sent            then the oldest
//!   └ window: how many at once
//! ```
//!
//! A batch finds out by itself how much the replicas take: its window halves with every
//! refusal, grows by one with every answer, and after a refusal nothing is sent for a while.
//! So a batch for a service that is down costs a request now and then, and never holds up a
//! batch for another.

use evenkeel_domain::durable::{Batch, BatchStatus, End, Millis, Owner};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How a batch reacts to failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Attempts of a line that ends in server faults.
    pub(crate) attempts: u32,
    /// First pause.
    pub(crate) backoff: Duration,
    /// Longest pause.
    pub(crate) backoff_max: Duration,
}

/// How far a batch has come.
#[derive(Debug)]
pub(crate) struct Progress {
    patience: Patience,
    answered: Vec<bool>,
    left: u32,
    next: u32,
    again: VecDeque<u32>,
    faults: HashMap<u32, u32>,
    under_way: u32,
    window: u32,
    refusals: u32,
    held_until: Option<Instant>,
}

impl Progress {
    /// A batch of `total` lines of which some are answered.
    pub(crate) fn new(total: usize, answered: &[u32], window: u32, patience: Patience) -> Self {
        let mut done = vec![false; total];
        for index in answered {
            if let Some(slot) = done.get_mut(*index as usize) {
                *slot = true;
            }
        }
        let left = done.iter().filter(|done| !**done).count();
        Self {
            patience,
            answered: done,
            left: u32::try_from(left).unwrap_or(u32::MAX),
            next: 0,
            again: VecDeque::new(),
            faults: HashMap::new(),
            under_way: 0,
            window: window.max(1),
            refusals: 0,
            held_until: None,
        }
    }

    /// Whether every line is answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Whether no line is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.under_way == 0
    }

    /// Lines that were sent and whose answers are not kept yet.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way as usize
    }

    /// When more lines may be sent, if that is a matter of time.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The line to send now, if one may be.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u32> {
        if self.held_until.is_some_and(|until| now < until) || self.under_way >= self.window {
            return None;
        }
        self.held_until = None;
        let index = self.again.pop_front().or_else(|| self.unsent())?;
        self.under_way += 1;
        Some(index)
    }

    fn unsent(&mut self) -> Option<u32> {
        loop {
            let index = self.next;
            let answered = *self.answered.get(index as usize)?;
            self.next += 1;
            if !answered {
                return Some(index);
            }
        }
    }

    /// A line's answer is kept; `limit` is how many may be under way in all.
    pub(crate) fn answered(&mut self, index: u32, limit: usize) {
        self.under_way = self.under_way.saturating_sub(1);
        self.faults.remove(&index);
        self.refusals = 0;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        self.window = self.window.saturating_add(1).min(limit);
        if let Some(slot @ false) = self.answered.get_mut(index as usize) {
            *slot = true;
            self.left -= 1;
        }
    }

    /// A line was refused: it comes again, when there may be room. `jitter` is 0 to 1.
    pub(crate) fn refused(
        &mut self,
        index: u32,
        after: Option<Duration>,
        now: Instant,
        jitter: f64,
    ) {
        self.window = (self.window / 2).max(1);
        let doubled = self.patience.backoff.saturating_mul(1 << self.refusals.min(16));
        self.refusals += 1;
        let pause = doubled.max(after.unwrap_or_default()).min(self.patience.backoff_max);
        let pause = pause.mul_f64(0.5 + jitter / 2.0);
        self.hold(now + pause);
        self.put_back(index);
    }

    /// A server failed a line. Whether it comes again: `false` when that was its last try.
    pub(crate) fn faulted(&mut self, index: u32, now: Instant) -> bool {
        let faults = self.faults.entry(index).or_default();
        *faults += 1;
        if *faults >= self.patience.attempts {
            return false;
        }
        self.hold(now + self.patience.backoff);
        self.put_back(index);
        true
    }

    /// A line was given up on our own account: it comes again.
    pub(crate) fn put_back(&mut self, index: u32) {
        self.under_way = self.under_way.saturating_sub(1);
        self.again.push_back(index);
    }

    fn hold(&mut self, until: Instant) {
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }
}

/// What a batch is to be brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Its file is to be read.
    Validate,
    /// Its lines are to be answered.
    Answer,
    /// It is to end, once what is under way has ended or, at the latest, at that time.
    End(End, Millis),
}

/// What a batch is to be brought to, were nobody at work on it.
pub(crate) fn goal(batch: &Batch, now: Millis, cancel_grace: Millis) -> Goal {
    let expired = now >= batch.times.expires;
    match batch.status {
        BatchStatus::Validating => Goal::Validate,
        BatchStatus::Cancelling => {
            let since = batch.times.cancelling.unwrap_or(now);
            Goal::End(End::Cancelled, since.saturating_add(cancel_grace))
        }
        BatchStatus::InProgress if expired => Goal::End(End::Expired, now),
        BatchStatus::InProgress => Goal::Answer,
        // Whoever ends it finds out which of the two it is.
        _ => Goal::End(End::Expired, now),
    }
}

/// Which of the `waiting` batches' owners gets the next active one: the index. They are
/// given oldest first.
pub(crate) fn pick(waiting: &[&Owner], active: &[&Owner]) -> Option<usize> {
    let has = |owner: &Owner| active.iter().filter(|other| **other == owner).count();
    (0..waiting.len()).min_by_key(|index| (has(waiting[*index]), *index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::durable::{BatchId, FileId, NewBatch};
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience {
        attempts: 3,
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(5),
    };

    fn progress(total: usize, answered: &[u32]) -> Progress {
        Progress::new(total, answered, 4, PATIENCE)
    }

    #[tokio::test(start_paused = true)]
    async fn lines_go_in_order_and_not_too_many() {
        let now = Instant::now();
        let mut batch = progress(8, &[1, 2]);
        let sent: Vec<_> = std::iter::from_fn(|| batch.take(now)).collect();
        assert_eq!(sent, [0, 3, 4, 5]);
        batch.answered(3, 100);
        assert_eq!([batch.take(now), batch.take(now), batch.take(now)], [Some(6), Some(7), None]);
        for index in [0, 4, 5, 6] {
            batch.answered(index, 100);
        }
        assert!(!batch.is_complete() && !batch.is_quiet());
        batch.answered(7, 100);
        assert!(batch.is_complete() && batch.is_quiet());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_slows_its_batch_and_an_answer_speeds_it_up() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut batch = progress(99, &[]);
        assert_eq!((batch.take(now), batch.take(now)), (Some(0), Some(1)));
        batch.refused(1, None, now, 1.0);
        assert_eq!(batch.held_until(), Some(now + ms(100)));
        assert_eq!(batch.take(now + ms(99)), None);
        assert_eq!(batch.take(now + ms(100)), Some(1), "it goes first");
        assert_eq!(batch.take(now + ms(100)), None, "half as many");
        batch.refused(1, Some(Duration::from_secs(2)), now, 1.0);
        assert_eq!(batch.held_until(), Some(now + ms(2000)), "as it was asked to");
        batch.refused(0, Some(Duration::from_secs(99)), now, 0.0);
        assert_eq!(batch.held_until(), Some(now + ms(2500)), "within bounds");
        let later = now + ms(2500);
        for expected in [1, 2, 3, 4] {
            let sent: Vec<_> = std::iter::from_fn(|| batch.take(later)).collect();
            assert_eq!(sent.len(), expected);
            sent.iter().for_each(|index| batch.put_back(*index));
            let index = batch.take(later).unwrap();
            batch.answered(index, 4);
        }
        assert_eq!(std::iter::from_fn(|| batch.take(later)).count(), 4, "no more than the limit");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_fails_is_given_up_and_others_are_not() {
        let now = Instant::now();
        let mut batch = progress(2, &[]);
        for last in [true, true, false] {
            let later = now + Duration::from_secs(60);
            assert_eq!(batch.take(later), Some(0));
            assert_eq!(batch.take(later), Some(1));
            assert_eq!(batch.faulted(0, now), last);
            batch.put_back(1);
            if last {
                assert_eq!(batch.take(now), None, "not at once");
            }
        }
        batch.answered(0, 4);
        assert!(!batch.is_complete() && batch.is_quiet());
    }

    proptest! {
        /// Whatever happens, every line is answered once and none is lost.
        #[test]
        fn no_line_is_lost(steps in proptest::collection::vec(0_u8..4, 0..400), total in 0_usize..40) {
            let start = Instant::now();
            let mut now = start;
            let mut batch = progress(total, &[]);
            let mut flying = VecDeque::new();
            let mut done = Vec::new();
            for step in steps {
                now += Duration::from_secs(10);
                flying.extend(batch.take(now));
                let Some(index) = flying.pop_front() else { continue };
                match step {
                    0 => batch.refused(index, None, now, 0.5),
                    1 if batch.faulted(index, now) => {}
                    2 => batch.put_back(index),
                    _ => {
                        batch.answered(index, 4);
                        done.push(index);
                    }
                }
            }
            while !batch.is_complete() {
                now += Duration::from_secs(10);
                flying.extend(batch.take(now));
                let index = flying.pop_front().expect("a line that is left can be sent");
                batch.answered(index, 4);
                done.push(index);
            }
            done.sort_unstable();
            prop_assert_eq!(done, (0..total as u32).collect::<Vec<_>>());
            prop_assert!(batch.is_quiet() && batch.take(now).is_none());
        }
    }

    #[test]
    fn a_goal_follows_from_status_and_time() {
        let order = NewBatch {
            owner: Owner::new("a").unwrap(),
            endpoint: "/v1/echo".into(),
            input: FileId::new("file-1"),
            completion_window: "24h".into(),
            metadata: None,
            output_expires_after: None,
            created_at: 0,
            expires_at: 100,
        };
        let mut batch = Batch::new(BatchId::new("batch_1"), order);
        let mut at = |status, now| {
            batch.status = status;
            batch.times.cancelling = Some(50);
            goal(&batch, now, 30)
        };
        assert_eq!(at(BatchStatus::Validating, 500), Goal::Validate);
        assert_eq!(at(BatchStatus::InProgress, 99), Goal::Answer);
        assert_eq!(at(BatchStatus::InProgress, 100), Goal::End(End::Expired, 100));
        assert_eq!(at(BatchStatus::Cancelling, 60), Goal::End(End::Cancelled, 80));
        assert_eq!(at(BatchStatus::Finalizing, 60), Goal::End(End::Expired, 60));
    }

    #[test]
    fn owners_take_turns() {
        let (a, b, c) =
            (Owner::new("a").unwrap(), Owner::new("b").unwrap(), Owner::new("c").unwrap());
        assert_eq!(pick(&[&a, &a, &b], &[]), Some(0), "the oldest");
        assert_eq!(pick(&[&a, &a, &b, &c], &[&a]), Some(2), "whoever has none");
        assert_eq!(pick(&[&a, &b], &[&a, &b]), Some(0));
        assert_eq!(pick(&[], &[&a]), None);
    }
}
