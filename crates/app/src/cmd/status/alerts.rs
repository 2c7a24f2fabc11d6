//! Alerts that are open, in a line each.

use super::clean;
use evenkeel_admin::view::Snapshot;

/// Lines at most; `evenkeel alert list` has all.
const LINES: usize = 10;

/// Adds the lines; none where nothing is wrong.
pub(super) fn lines(out: &mut String, now: &Snapshot, width: Option<usize>) {
    let Some(alerts) = &now.alerts else { return };
    let mut add = |line: String| {
        out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    };
    if let Some(error) = &alerts.error {
        add(format!("▲ alerts are not kept: {}", clean(error)));
    }
    for alert in alerts.open.iter().take(LINES) {
        let sign = if alert.severity == "page" { '✖' } else { '▲' };
        let state = match (&alert.silenced, &alert.acknowledged_by) {
            (Some(why), _) => format!("; silenced {}", clean(why)),
            (_, Some(by)) => format!("; {} sees to it", clean(by)),
            _ if alert.told.is_empty() => "; nobody is told".into(),
            _ => format!("; told {}", clean(&alert.told.join(", "))),
        };
        add(format!("{sign} {} {}{state}", alert.id, clean(&alert.what)));
    }
    if alerts.open.len() > LINES {
        add(format!("  … and {} more: evenkeel alert list", alerts.open.len() - LINES));
    }
    for channel in &alerts.channels {
        if let Some(error) = &channel.error {
            add(format!("▲ channel {}: {}", clean(&channel.name), clean(error)));
        }
    }
}
