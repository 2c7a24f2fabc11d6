//! How long standbys took to take over.

use super::{Families, Reading, histogram};
use evenkeel_domain::Pool;
use evenkeel_domain::standby::Level;
use std::fmt;

impl Reading {
    /// Times of promotions, of the levels that there are.
    pub(super) fn promotions(&self, to: &mut Families<'_>) -> fmt::Result {
        let has = |pool: &Pool, level| {
            let of = |standby: &evenkeel_domain::standby::Standby| standby.level == level;
            pool.members().iter().any(|r| r.id.standby.as_ref().is_some_and(of))
        };
        let pools = || self.pools.iter().flat_map(|pool| Level::ALL.map(|level| (pool, level)));
        if !pools().any(|(pool, level)| has(pool, level)) {
            return Ok(());
        }
        let help = "Time from when too few replicas took traffic to a promoted standby's answer.";
        to.histograms("evenkeel_promotion_seconds", help, &mut |to| {
            pools().filter(|(pool, level)| has(pool, *level)).try_for_each(|(pool, level)| {
                let labels = [("service", &*pool.name), ("level", level.label())];
                histogram(to, &labels, pool.counts.promotion(level))
            })
        })
    }
}
