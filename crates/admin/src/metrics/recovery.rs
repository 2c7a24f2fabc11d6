//! Incidents and what was done about them.

use super::{Families, count, gauge, histogram};
use crate::ports::Healing;
use evenkeel_domain::incident::Phase;
use std::fmt;

pub(super) fn encode(to: &mut Families<'_>, healing: &dyn Healing) -> fmt::Result {
    let view = healing.view();
    let help = "Open incidents by phase.";
    to.gauges("evenkeel_incidents_open", help, &mut |to| {
        Phase::ALL.into_iter().filter(|phase| *phase != Phase::Resolved).try_for_each(|phase| {
            let label = phase.label();
            let open = view.open.iter().filter(|incident| incident.phase == label).count();
            gauge(to, &[("phase", label)], open as f64)
        })
    })?;
    to.counter("evenkeel_incidents_confirmed", "Incidents that were confirmed.", view.confirmed)?;
    to.counters("evenkeel_actions", "Recovery's actions by how they ended.", &mut |to| {
        view.actions.iter().try_for_each(|(action, [good, bad])| {
            count(to, &[("action", action), ("result", "ok")], *good)?;
            count(to, &[("action", action), ("result", "failed")], *bad)
        })
    })?;
    let help = "From the first sign of a fault until it was confirmed.";
    to.histograms("evenkeel_incidents_detect_seconds", help, &mut |to| {
        histogram(to, &[], healing.detect())
    })?;
    let help = "From the first sign of a fault until the replica served again.";
    to.histograms("evenkeel_incidents_mitigate_seconds", help, &mut |to| {
        histogram(to, &[], healing.mitigate())
    })?;
    let help = "1 while recovery is stopped until a person resets it.";
    to.gauge("evenkeel_recovery_storm", help, f64::from(u8::from(view.storm.is_some())))?;
    let help = "1 while recovery works; 0 while it does nothing, for want of its journal.";
    to.gauge("evenkeel_recovery_works", help, f64::from(u8::from(view.error.is_none())))
}
