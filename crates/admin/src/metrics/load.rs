//! Families about how much replicas are given, and who waits.

use super::{Families, Reading, gauge};
use crate::snapshot::told;
use evenkeel_domain::clock;
use std::fmt;

impl Reading {
    /// How much each replica is given, and what it tells of its own queue.
    pub(super) fn room(&self, to: &mut Families<'_>) -> fmt::Result {
        let help = "Attempts it is given at most; absent without a bound.";
        to.gauges("evenkeel_replica_limit", help, &mut |to| {
            self.each_replica(|labels, replica| match replica.bound() {
                0 => Ok(()),
                bound => gauge(to, &labels, bound.into()),
            })
        })?;
        let now = clock::now();
        let help = "Requests in its own queue, where it tells of one.";
        to.gauges("evenkeel_replica_waiting", help, &mut |to| {
            self.each_replica(|labels, replica| match told(replica, now) {
                None => Ok(()),
                Some(told) => gauge(to, &labels, told.waiting.into()),
            })
        })
    }
}
