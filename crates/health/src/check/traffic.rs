//! Network traffic since the last look, and its share of what the link can carry where that
//! is known.

use super::runner::FIRST;
use super::{Asking, Kind, Members, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, CheckValue, Unit};
use evenkeel_domain::clock;
use procfs::net::{DeviceStatus, dev_status};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::sleep;

pub(super) const KIND: Kind = Kind {
    name: "traffic",
    keys: &["interface"],
    measures: &[
        above("receive", Unit::BytesPerSecond),
        above("transmit", Unit::BytesPerSecond),
        above("used", Unit::Share),
        above("errors", Unit::Number),
    ],
    silence: CheckState::Unknown,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let interface = settings.interface.clone();
    if interface.as_ref().is_some_and(|name| name.is_empty() || name.contains('/')) {
        return Err(("interface".into(), "is no interface's name; `ip link` lists them".into()));
    }
    Ok(Box::new(Traffic { interface, before: None }))
}

/// Counters since the host was started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counters {
    received: u64,
    sent: u64,
    /// Errors and drops, a second of which is the measure.
    errors: u64,
}

#[derive(Debug)]
struct Traffic {
    interface: Option<String>,
    before: Option<(Counters, Instant)>,
}

/// The counters of one interface, or of all but loopback.
fn counters(all: &HashMap<String, DeviceStatus>, one: Option<&str>) -> Option<Counters> {
    let wanted = |name: &str| one.map_or(name != "lo", |one| name == one);
    let mut found = all.iter().filter(|(name, _)| wanted(name)).map(|(_, d)| d).peekable();
    if one.is_some() {
        found.peek()?;
    }
    Some(found.fold(Counters::default(), |sum, d| Counters {
        received: sum.received.wrapping_add(d.recv_bytes),
        sent: sum.sent.wrapping_add(d.sent_bytes),
        errors: sum.errors.wrapping_add(d.recv_errs + d.sent_errs + d.recv_drop + d.sent_drop),
    }))
}

/// What a link carries, in bytes a second; virtual ones do not say.
fn speed(interface: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?;
    let megabits: f64 = text.trim().parse().ok()?;
    (megabits > 0.0).then_some(megabits * 1e6 / 8.0)
}

fn values(before: Counters, now: Counters, seconds: f64, speed: Option<f64>) -> Vec<CheckValue> {
    let rate = |pick: fn(&Counters) -> u64| {
        pick(&now).saturating_sub(pick(&before)) as f64 / seconds.max(0.001)
    };
    let (received, sent) = (rate(|c| c.received), rate(|c| c.sent));
    let mut all = vec![
        value("receive", received, Unit::BytesPerSecond),
        value("transmit", sent, Unit::BytesPerSecond),
        value("errors", rate(|c| c.errors), Unit::Number),
    ];
    // Links carry as much in each direction.
    all.extend(speed.map(|speed| value("used", share(received.max(sent), speed), Unit::Share)));
    all
}

impl Traffic {
    fn look(&self) -> Result<(Counters, Instant), Trouble> {
        let all = dev_status().map_err(|e| Trouble::NoData(format!("/proc/net/dev: {e}")))?;
        let name = self.interface.as_deref();
        let found = counters(&all, name).ok_or_else(|| {
            let name = name.unwrap_or_default();
            Trouble::Failed(format!("there is no interface `{name}`; `ip link` lists them"))
        })?;
        Ok((found, clock::now()))
    }
}

impl Source for Traffic {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let before = match self.before {
                Some(before) => before,
                None => {
                    let first = self.look()?;
                    sleep(FIRST).await;
                    first
                }
            };
            let now = self.look()?;
            self.before = Some(now);
            let seconds = now.1.saturating_duration_since(before.1).as_secs_f64();
            let speed = self.interface.as_deref().and_then(speed);
            Ok(Reading::of(values(before.0, now.0, seconds, speed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_a_counter_that_begins_anew_is_none() {
        let before = Counters { received: 1000, sent: 0, errors: 0 };
        let now = Counters { received: 51_000, sent: 10_000, errors: 2 };
        let named = |all: &[CheckValue]| -> Vec<(String, f64)> {
            all.iter().map(|v| (v.measure.clone(), v.value)).collect()
        };
        let found = named(&values(before, now, 2.0, Some(125_000.0)));
        let expected =
            [("receive", 25_000.0), ("transmit", 5000.0), ("errors", 1.0), ("used", 0.2)];
        assert_eq!(found, expected.map(|(name, v)| (name.to_owned(), v)));
        assert!(values(now, before, 2.0, None).iter().all(|v| v.value == 0.0));
    }
}
