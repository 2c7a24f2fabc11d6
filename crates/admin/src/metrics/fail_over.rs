//! Which services are answered by others.

use super::{Families, Reading, gauge};
use std::fmt;

impl Reading {
    /// One for each service that another answers for; none while all answer by themselves.
    pub(super) fn failed_over(&self, to: &mut Families<'_>) -> fmt::Result {
        let help = "1 while another service answers in a service's place.";
        to.gauges("evenkeel_service_failed_over", help, &mut |to| {
            self.pools.iter().try_for_each(|pool| match pool.stand_in() {
                Some(other) => gauge(to, &[("service", &*pool.name), ("to", &*other)], 1.0),
                None => Ok(()),
            })
        })
    }
}
