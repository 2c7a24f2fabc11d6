//! Families about how much replicas are given, and who waits.

use super::{Families, Label, Reading, count, gauge, histogram};
use crate::snapshot::told;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::settings::Tier;
use evenkeel_domain::{Pool, clock};
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

    /// Who waits for a place, and who is refused.
    pub(super) fn queue(&self, to: &mut Families<'_>) -> fmt::Result {
        let help = "Requests refused before any replica saw them, by reason.";
        to.counters("evenkeel_refused", help, &mut |to| {
            self.each_tier(|[service, tier], pool, of| {
                Refused::ALL.into_iter().try_for_each(|why| {
                    let labels = [service, tier, ("reason", why.label())];
                    count(to, &labels, pool.counts.refused(of, why))
                })
            })
        })?;
        let help = "1 while requests of this tier are refused rather than made to wait.";
        to.gauges("evenkeel_overloaded", help, &mut |to| {
            self.each_tier(|labels, pool, of| {
                gauge(to, &labels, f64::from(u8::from(pool.counts.is_overloaded(of))))
            })
        })?;
        let help = "Time that requests waited for a place they then got.";
        to.histograms("evenkeel_queue_wait_seconds", help, &mut |to| {
            self.pools.iter().try_for_each(|pool| {
                histogram(to, &[("service", &*pool.name)], &pool.counts.queue_wait)
            })
        })
    }

    fn each_tier(
        &self,
        mut each: impl FnMut([Label<'_>; 2], &Pool, Tier) -> fmt::Result,
    ) -> fmt::Result {
        self.pools.iter().try_for_each(|pool| {
            Tier::ALL.into_iter().try_for_each(|tier| {
                each([("service", &*pool.name), ("tier", tier.label())], pool, tier)
            })
        })
    }
}
