//! A message as programs read it. Fields are added, never renamed.

use crate::text::at_text;
use evenkeel_domain::alert::{Alert, Message};
use serde_json::{Value, json};

/// The whole message.
#[must_use]
pub fn message(message: &Message, title: &str, text: &str) -> Value {
    json!({
        "version": 1,
        "id": message.id,
        "kind": message.kind.label(),
        "group": message.group,
        "episode": message.episode,
        "open": message.open,
        "at": at_text(message.at),
        "title": title,
        "text": text,
        "alerts": message.alerts.iter().map(alert).collect::<Vec<_>>(),
        "more": message.more,
    })
}

/// One alert.
#[must_use]
pub fn alert(alert: &Alert) -> Value {
    let finding = &alert.finding;
    json!({
        "id": alert.id,
        "labels": finding.all_labels(),
        "status": if alert.resolved.is_some() { "resolved" } else { "firing" },
        "severity": finding.severity.label(),
        "what": finding.what,
        "why": finding.why,
        "since": at_text(alert.since),
        "resolved": alert.resolved.map(at_text),
        "affected": finding.affected,
        "done": finding.done,
        "next": finding.next,
        "acknowledged_by": alert.acknowledged.as_ref().map(|by| &by.owner),
    })
}
