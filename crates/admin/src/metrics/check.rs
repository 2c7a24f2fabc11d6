//! Checks: as many series as are configured, and what each may measure.

use super::{Families, Reading, gauge};
use std::fmt;

impl Reading {
    /// Where checks stand, and what they measured.
    pub(super) fn checks(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.checks.is_empty() {
            return Ok(());
        }
        let help = "What a check says: 0 ok, 1 warning, 2 critical, 3 unknown.";
        to.gauges("evenkeel_check_state", help, &mut |to| {
            self.checks.iter().try_for_each(|check| {
                let labels = [("check", &*check.check), ("subject", &*check.subject)];
                gauge(to, &labels, f64::from(check.state.code()))
            })
        })?;
        let help = "What a check measured last: seconds, bytes, shares of 1, degrees Celsius.";
        to.gauges("evenkeel_check_value", help, &mut |to| {
            self.checks.iter().try_for_each(|check| {
                check.values.iter().try_for_each(|value| {
                    let labels = [
                        ("check", &*check.check),
                        ("subject", &*check.subject),
                        ("measure", &*value.measure),
                    ];
                    gauge(to, &labels, value.value)
                })
            })
        })
    }
}
