//! The port of the account to what survives a restart.

use super::{Axis, Tally};
use crate::durable::StoreError;
use std::future::Future;
use std::pin::Pin;

/// One reading of all clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clocks {
    /// Names this start of the machine: monotonic clocks begin anew with each.
    pub boot: String,
    /// Milliseconds since it, those of sleep included. Never stepped.
    pub boot_ms: u64,
    /// Milliseconds since the Unix epoch. Stepped by people and by NTP.
    pub wall_ms: u64,
}

/// What a process is given that takes the account over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Rises by one with each that does.
    pub epoch: u64,
    /// Where the axis is at the reading of clocks that was given.
    pub axis_ms: Axis,
    /// How long nobody has kept the account, in milliseconds: that time is unknown.
    pub gap_ms: u64,
}

/// What was counted for one service in one minute since it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The service.
    pub service: String,
    /// Since when it is known, on the axis; kept with what is first written of it.
    pub since_ms: Axis,
    /// The minute on the axis.
    pub minute: u64,
    /// What is added; in answers: what stands there now.
    pub tally: Tally,
}

/// All that is known of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The service.
    pub service: String,
    /// Since when, on the axis.
    pub since_ms: Axis,
    /// Recent minutes, oldest first: (minute, what was counted in it).
    pub minutes: Vec<(u64, Tally)>,
    /// Hours, oldest first.
    pub hours: Vec<(u64, Tally)>,
    /// All that was ever counted.
    pub total: Tally,
}

/// What came of adding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// Another process keeps the time now; requests were added all the same.
    pub fenced: bool,
    /// For each delta what stands in its minute now: several processes may have counted.
    pub minutes: Vec<Delta>,
    /// The same for its hour.
    pub hours: Vec<Delta>,
    /// The same for its service: `minute` says nothing.
    pub totals: Vec<Delta>,
}

/// What a method of [`SloStore`] answers with.
pub type SloFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Where the account is kept. What was answered with `Ok` survives a crash.
pub trait SloStore: Send + Sync {
    /// Takes the account over. From now on the time of others is refused, but for what they
    /// kept before.
    fn take<'a>(&'a self, now: &'a Clocks) -> SloFuture<'a, Taken>;

    /// All that is known, of services that were seen within what is kept.
    fn load(&self) -> SloFuture<'_, Vec<Kept>>;

    /// Adds, in one transaction; `now` and `axis_ms` are where the deltas end. Whoever has
    /// lost the account adds requests, and time only as far as the next one had not begun.
    fn add<'a>(
        &'a self,
        epoch: u64,
        now: &'a Clocks,
        axis_ms: Axis,
        deltas: &'a [Delta],
    ) -> SloFuture<'a, Added>;

    /// Deletes minutes and hours before these, and services without any. Gives how many rows.
    fn prune(&self, epoch: u64, minute: u64, hour: u64) -> SloFuture<'_, u64>;
}
