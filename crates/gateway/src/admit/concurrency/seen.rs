//! What the controller is shown at each tick.

use evenkeel_domain::outcome::Outcome;
use evenkeel_domain::room::{Times, Told};
use evenkeel_domain::{Replica, clock};
use std::time::{Duration, Instant};

/// One look at a replica.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) now: Instant,
    /// Attempts under way.
    pub(super) in_flight: u32,
    /// … of which the answer has not begun.
    pub(super) unanswered: u32,
    /// Times to first token since the last look.
    pub(super) times: Times,
    /// Attempts that ended well since the process started.
    pub(super) done: u64,
    /// … and those that it answered with "busy".
    pub(super) busy: u64,
    /// What it says of its own queue.
    pub(super) told: Option<Told>,
    /// It has all it may have: more was wanted, or will be.
    pub(super) wanted: bool,
    /// For how long no byte of any answer has come.
    pub(super) still: Duration,
}

impl Seen {
    /// Looks at a replica.
    pub(super) fn take(replica: &Replica, now: Instant) -> Self {
        let live = &replica.live;
        let in_flight = live.in_flight();
        let limit = live.room.limit();
        Self {
            now,
            in_flight,
            unanswered: live.room.unanswered().min(in_flight),
            times: live.room.take_times(),
            done: live.count(Outcome::Ok),
            busy: live.count(Outcome::Backpressure),
            told: live.room.told(),
            wanted: limit > 0 && in_flight >= limit,
            still: match live.last_move_ms() {
                0 => Duration::ZERO,
                moved => Duration::from_millis(clock::millis(now).saturating_sub(moved)),
            },
        }
    }
}
