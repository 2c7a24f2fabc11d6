//! Error budgets that burn or run out, in a line each.

use super::clean;
use evenkeel_admin::view::ServiceView;

/// Adds the lines; none where nothing is wrong.
pub(super) fn lines(out: &mut String, services: &[ServiceView], width: Option<usize>) {
    for service in services {
        let Some(budget) = service.budget.as_ref().filter(|budget| !budget.text.is_empty()) else {
            continue;
        };
        let sign = if budget.severity.as_deref() == Some("page") { '✖' } else { '▲' };
        let line = format!("{sign} {}: {}", clean(&service.name), clean(&budget.text));
        out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    }
}
