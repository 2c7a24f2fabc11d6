//! Checks in a line each: what is known, and why.

use super::{age, clean};
use evenkeel_admin::view::CheckView;

/// Adds the lines.
pub(super) fn lines(out: &mut String, checks: &[CheckView], now: u64, width: Option<usize>) {
    if !checks.is_empty() {
        out.push('\n');
    }
    for check in checks {
        let line = describe(check, now);
        out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    }
}

fn describe(check: &CheckView, now: u64) -> String {
    let sign = match check.state.as_str() {
        "ok" => '●',
        "warning" => '▲',
        "critical" => '✖',
        _ => '○',
    };
    let of = match check.subject.as_str() {
        "" => String::new(),
        subject => format!(" ({})", clean(subject)),
    };
    let since = age(now.saturating_sub(check.since_unix_ms));
    let (name, state, why) = (clean(&check.name), clean(&check.state), clean(&check.why));
    let mut line = format!("{sign} {state} check {name}{of} for {since}: {why}");
    if let Some(pending) = &check.pending {
        line.push_str(&format!("; now {}", clean(pending)));
    }
    if let Some(ahead) = check.ahead.as_ref().filter(|ahead| !check.why.contains(*ahead)) {
        line.push_str(&format!("; {}", clean(ahead)));
    }
    if check.state == "critical" && !check.replicas.is_empty() {
        line.push_str(&format!("; against {}", clean(&check.replicas.join(", "))));
    }
    line
}
