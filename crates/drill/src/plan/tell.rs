//! Events in a line each, as far as they belong on a drill's timeline.

use evenkeel_domain::event::EventKind;

/// In a line; `None` for what says nothing here.
pub(crate) fn event(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::Health { replica, from, to, why } => format!("{replica}: {from} → {to} ({why})"),
        EventKind::Incident { id, replica, to, why, .. } => {
            format!("incident {id} of {replica}: {to} ({why})")
        }
        EventKind::Reloaded => "a configuration is in force".into(),
        EventKind::ReloadRefused { why } => format!("a configuration was refused: {why}"),
        EventKind::FailedOver { service, to } => match to {
            Some(to) => format!("{to} answers for {service}"),
            None => format!("{service} answers for itself again"),
        },
        EventKind::Standby { replica, from, to, why, .. } => {
            format!("{replica}: {from} → {to} ({why})")
        }
        EventKind::Scaled { service, from, to, why } => {
            format!("{service}: {from} → {to} copies ({why})")
        }
        EventKind::Degraded { service, from, to, why } => {
            format!("{service}: level {from} → {to} ({why})")
        }
        EventKind::Storm { stopped, why } => match stopped {
            true => format!("recovery is stopped: {why}"),
            false => format!("recovery goes on: {why}"),
        },
        EventKind::Quarantined { service, .. } => format!("{service}: a request is quarantined"),
        EventKind::Alert { id, to, why, .. } => format!("alert {id} {to}: {why}"),
        EventKind::Draining => "the gateway drains".into(),
        EventKind::Override { .. }
        | EventKind::Detour { .. }
        | EventKind::Job { .. }
        | EventKind::Check { .. }
        | EventKind::Budget { .. } => return None,
    })
}
