//! `[service.slo]`: checks.

use super::service::ServiceConfig;
use std::time::Duration;

/// Shorter windows say more of one evening than of a service.
const SHORTEST: Duration = Duration::from_secs(86_400);
/// Longer ones are not remembered to the hour.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// All contradictions: (key below the service, message).
pub(super) fn problems(service: &ServiceConfig) -> Vec<(String, String)> {
    let Some(slo) = &service.slo else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |key: &str, text: &str| found.push((format!("slo.{key}"), text.to_owned()));
    if !(50.0..100.0).contains(&slo.availability) {
        let share = if slo.availability > 0.0 && slo.availability <= 1.0 {
            format!("; it is in percent, try {}", slo.availability * 100.0)
        } else {
            "; 100 leaves no budget, and the first failure would be too much".into()
        };
        add("availability", &format!("from 50 to below 100{share}"));
    }
    if slo.window < SHORTEST || slo.window > LONGEST {
        add("window", "from a day to a year, such as \"30d\"");
    }
    if slo.latency.is_some_and(|latency| latency.is_zero()) {
        add("latency", "above zero; remove it where only success counts");
    }
    if !(1.0..100.0).contains(&slo.latency_percent) {
        add("latency_percent", "from 1 to below 100");
    }
    found
}
