//! Open incidents in two lines each: what is wrong and why; what was done and what to do next.

use super::{age, clean};
use evenkeel_admin::view::{IncidentView, RecoveryView};

/// Adds the lines; none where nothing is wrong.
pub(super) fn lines(out: &mut String, view: &RecoveryView, now: u64, width: Option<usize>) {
    let mut line = |text: String| {
        out.extend(text.chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    };
    let quiet = view.error.is_none() && view.storm.is_none();
    if quiet && view.open.is_empty() && view.pauses.is_empty() {
        return;
    }
    line(String::new());
    // It begins a moment after the gateway serves; that is nobody's business.
    if let Some(why) = view.error.as_ref().filter(|_| view.epoch > 0 || !is_new(view)) {
        line(format!("▲ nothing is healed: {}", clean(why)));
    }
    if let Some(storm) = &view.storm {
        line(format!("✖ recovery is stopped: {}", clean(&storm.why)));
        line(
            "    next: find out what they have in common, then `evenkeel incident reset-storm`"
                .into(),
        );
    }
    for pause in &view.pauses {
        let (target, owner, why) = (clean(&pause.target), clean(&pause.owner), clean(&pause.why));
        let left = age(pause.until_unix_ms.saturating_sub(now));
        line(format!("◐ {target} paused by {owner} for {left}: {why}"));
    }
    for incident in &view.open {
        let (first, second) = describe(incident, now);
        line(first);
        line(second);
    }
}

fn is_new(view: &RecoveryView) -> bool {
    view.error.as_deref() == Some("recovery has not begun yet")
}

fn describe(incident: &IncidentView, now: u64) -> (String, String) {
    let sign = match incident.phase.as_str() {
        "escalated" | "storm" => '✖',
        "probation" => '●',
        _ => '▲',
    };
    let since = age(now.saturating_sub(incident.onset_unix_ms));
    let first = format!(
        "{sign} {} {}  {} for {since}: {}",
        clean(&incident.replica),
        incident.phase,
        incident.cause,
        clean(&incident.why)
    );
    let mut parts = vec![format!("incident {}: {}", incident.id, clean(&incident.note))];
    if !incident.held.is_empty() && incident.held != incident.note {
        parts.push(format!("now: {}", clean(&incident.held)));
    }
    parts.extend(incident.holds.iter().map(|hold| clean(hold)));
    if !incident.next.is_empty() {
        parts.push(format!("next: {}", clean(&incident.next)));
    }
    (first, format!("    {}", parts.join("; ")))
}
