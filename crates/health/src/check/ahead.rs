//! When a limit will be reached: a disk that fills, memory that leaks. Pure: values and times
//! in, the nearest limit out.

use super::limits::Limits;
use crate::anomaly::forecast::Trend;
use evenkeel_domain::check::{Ahead, CheckValue};
use std::collections::HashMap;
use std::time::Duration;

/// A value that falls below this share of the one before began anew: a process was restarted,
/// files were deleted. What it did before says nothing of what it does now.
const ANEW: f64 = 0.7;

/// The trends of one thing that a check looks at.
#[derive(Debug, Default)]
pub(super) struct Trends(HashMap<String, (Trend, f64)>);

impl Trends {
    /// Takes the values of a look at `now_ms` (since the Unix epoch); gives the first limit
    /// that is reached within that time.
    pub(super) fn look(
        &mut self,
        values: &[CheckValue],
        limits: &Limits,
        within: Duration,
        now_ms: u64,
    ) -> Option<Ahead> {
        let mut nearest: Option<Ahead> = None;
        for (measure, limit) in limits.ends() {
            let Some(seen) = values.iter().find(|value| value.measure == measure) else { continue };
            let (trend, last) = self.0.entry(measure.to_owned()).or_default();
            if seen.value < *last * ANEW {
                *trend = Trend::default();
            }
            *last = seen.value;
            trend.observe(now_ms as f64 / 1e3, seen.value);
            let Some(left) = trend.reaches(limit).filter(|left| *left <= within) else { continue };
            let at_unix_ms = now_ms.saturating_add(millis(left));
            if nearest.as_ref().is_none_or(|known| at_unix_ms < known.at_unix_ms) {
                let (name, limit) = (measure.replace('_', " "), seen.unit.show(limit));
                let text = format!("{name} reaches {limit} in about {}", about(left));
                nearest = Some(Ahead { measure: measure.to_owned(), at_unix_ms, text });
            }
        }
        nearest
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A time as people say it, in its two largest parts.
pub(super) fn about(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::settings;
    use super::super::{above, value};
    use super::*;
    use evenkeel_domain::check::Unit;

    fn limits() -> Limits {
        let settings = settings(r#"{"critical":{"memory":"1GB"}}"#);
        Limits::compile(&settings, &[above("memory", Unit::Bytes)]).unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_leak_is_told_an_hour_before_its_limit_and_forgotten_after_a_restart() {
        let (limits, mut trends) = (limits(), Trends::default());
        // 100 kB a second, each ten seconds: 1 GB after 10,000 s.
        let mut first = None;
        for n in 0..1000u64 {
            let now = n * 10_000;
            let used = value("memory", n as f64 * 1e6, Unit::Bytes);
            let ahead = trends.look(&[used], &limits, HOUR, now);
            if let Some(ahead) = ahead {
                first = first.or(Some(now));
                assert!(ahead.at_unix_ms.abs_diff(10_000_000) < 30_000, "{ahead:?}");
                assert!(ahead.text.starts_with("memory reaches 954MiB in about"), "{ahead:?}");
            }
        }
        let first = first.unwrap();
        assert!(first.abs_diff(10_000_000 - 3_600_000) < 30_000, "{first}");
        let low = value("memory", 1e6, Unit::Bytes);
        assert_eq!(trends.look(&[low], &limits, HOUR, 10_010_000), None);
    }

    #[test]
    fn what_stands_still_reaches_nothing() {
        let (limits, mut trends) = (limits(), Trends::default());
        for n in 0..500u64 {
            let used = value("memory", 9e8, Unit::Bytes);
            assert_eq!(trends.look(&[used], &limits, HOUR, n * 10_000), None);
        }
    }
}
