//! Alerts and the ways they go.

use super::{Families, Reading, count, gauge};
use crate::view::{AlertsView, ChannelView};
use std::collections::BTreeMap;
use std::fmt;

/// A counter of each channel.
type Counter = (&'static str, &'static str, fn(&ChannelView) -> u64);

const COUNTERS: [Counter; 2] = [
    ("evenkeel_alert_delivered", "Messages that a channel took.", |c| c.delivered),
    ("evenkeel_alert_failures", "Times that a channel did not take a message.", |c| c.failed),
];

impl Reading {
    /// All of it.
    pub(super) fn alerts(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(alerts) = &self.alerts else { return Ok(()) };
        let help = "1 while alerts are kept; 0 while a crash would lose some.";
        to.gauge("evenkeel_alert_works", help, f64::from(u8::from(alerts.error.is_none())))?;
        let help = "Findings for which there was no room.";
        to.counter("evenkeel_alert_overflow", help, alerts.overflow)?;
        open(to, alerts)?;
        for (name, help, value) in COUNTERS {
            to.counters(name, help, &mut |to| {
                alerts
                    .channels
                    .iter()
                    .try_for_each(|c| count(to, &[("channel", &c.name)], value(c)))
            })?;
        }
        let help = "Messages that wait for a channel.";
        to.gauges("evenkeel_alert_waiting", help, &mut |to| {
            alerts
                .channels
                .iter()
                .try_for_each(|c| gauge(to, &[("channel", &c.name)], c.waiting as f64))
        })?;
        let help = "1 while a channel is asked; 0 while its breaker rejects.";
        to.gauges("evenkeel_alert_channel_admits", help, &mut |to| {
            alerts.channels.iter().try_for_each(|c| {
                gauge(to, &[("channel", &c.name)], f64::from(u8::from(c.state == "admitting")))
            })
        })
    }
}

fn open(to: &mut Families<'_>, alerts: &AlertsView) -> fmt::Result {
    let mut all: BTreeMap<(&str, &str, &str, &str), f64> = BTreeMap::new();
    for alert in &alerts.open {
        let state = match (&alert.silenced, &alert.acknowledged_by) {
            (Some(_), _) => "silenced",
            (_, Some(_)) => "acknowledged",
            _ => "firing",
        };
        *all.entry((&alert.alert, &alert.severity, &alert.service, state)).or_default() += 1.0;
    }
    to.gauges("evenkeel_alert_open", "Alerts that are open.", &mut |to| {
        all.iter().try_for_each(|((alert, severity, service, state), n)| {
            let labels = [
                ("alert", *alert),
                ("severity", *severity),
                ("service", *service),
                ("state", *state),
            ];
            gauge(to, &labels, *n)
        })
    })
}
