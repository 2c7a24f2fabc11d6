//! Service levels: what counts, what is kept, and where other parts hear of it.
//!
//! ```text
//!  gateway ─ settled requests ─► Counted (atomics) ─┐
//!  authority ─ gates ─► up, down, planned ──────────┴─► account (crate `slo`) ─► SloStore
//!                                                            │
//!                       alerts, drills ◄─ Budgets ◄──────────┘
//! ```
//! The account runs on an **axis** of its own: milliseconds that only ever grow, by the time
//! that has really passed. Wall clocks are stepped; the axis is not.

mod budget;
mod count;
mod port;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;

pub use budget::{BudgetState, Budgets, Exhausted, Firing, Severity, Sli};
pub use count::{Circumstances, Counted, Verdict, verdict};
pub use port::{Added, Clocks, Delta, Kept, SloFuture, SloStore, Taken};
pub use settings::Slo;

use std::ops::AddAssign;

/// Milliseconds on the axis of the account.
pub type Axis = u64;

/// What was counted in some span of time. What is neither up, down nor planned is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Valid requests that were answered well.
    pub good: u64,
    /// Valid requests that were not.
    pub bad: u64,
    /// … of the good ones, those whose answer began within the latency objective.
    pub in_time: u64,
    /// … and those that ended well while no replica took traffic: clients were served all the
    /// same, as by a fallback.
    pub good_down: u64,
    /// Milliseconds in which a replica took traffic.
    pub up_ms: u64,
    /// Milliseconds in which none did.
    pub down_ms: u64,
    /// Milliseconds in which none did because a person wanted it so.
    pub planned_ms: u64,
}

impl Tally {
    /// Requests that count.
    #[must_use]
    pub const fn valid(&self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// Milliseconds of which it is known what they were.
    #[must_use]
    pub const fn known_ms(&self) -> u64 {
        self.up_ms.saturating_add(self.down_ms).saturating_add(self.planned_ms)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.good, more.good);
        add(&mut self.bad, more.bad);
        add(&mut self.in_time, more.in_time);
        add(&mut self.good_down, more.good_down);
        add(&mut self.up_ms, more.up_ms);
        add(&mut self.down_ms, more.down_ms);
        add(&mut self.planned_ms, more.planned_ms);
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}
