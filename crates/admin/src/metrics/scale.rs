//! How many copies of scaled services run.

use super::{Families, Reading, count, gauge};
use std::fmt;

impl Reading {
    /// Sizes, bounds and changes.
    pub(super) fn scales(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.scales.is_empty() {
            return Ok(());
        }
        let help = "Copies that are meant to run, and the bounds of that.";
        to.gauges("evenkeel_service_copies", help, &mut |to| {
            self.scales.iter().try_for_each(|(service, view)| {
                let all = [("wanted", view.copies), ("min", view.min), ("max", view.max)];
                all.into_iter().try_for_each(|(bound, copies)| {
                    gauge(to, &[("service", service), ("kind", bound)], copies.into())
                })
            })
        })?;
        let help = "Changes of how many copies run.";
        to.counters("evenkeel_service_scaled", help, &mut |to| {
            self.scales.iter().try_for_each(|(service, view)| {
                count(to, &[("service", service), ("direction", "up")], view.ups)?;
                count(to, &[("service", service), ("direction", "down")], view.downs)
            })
        })
    }
}
