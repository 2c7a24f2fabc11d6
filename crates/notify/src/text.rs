//! A message as people read it: what, since when, who feels it, what was done, what to do.

use evenkeel_domain::alert::{Alert, Kind, Message, Millis, Severity};
use std::time::{Duration, UNIX_EPOCH};

/// Characters of one field at most: evidence may quote whole answers.
const FIELD: usize = 500;

/// The line above it.
#[must_use]
pub fn title(message: &Message) -> String {
    let first = message.alerts.first();
    let Some(first) = first else {
        return match message.kind {
            Kind::Alive => "Evenkeel: alerting lives".into(),
            _ => "Evenkeel: this is a test".into(),
        };
    };
    let others = message.alerts.len() as u64 + message.more - 1;
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    let urgent = match first.finding.severity {
        Severity::Page => "PAGE",
        Severity::Ticket => "ticket",
    };
    let what = line(&first.finding.what);
    match message.kind {
        Kind::Fires => format!("[{urgent}] {what}{more}"),
        Kind::Repeats => format!("[{urgent}, still] {what}{more}"),
        Kind::Escalates => format!("[{urgent}, nobody acknowledged] {what}{more}"),
        Kind::Acknowledged => format!("[acknowledged] {what}{more}"),
        Kind::Resolved => format!("[resolved] {what}{more}"),
        Kind::Alive | Kind::Test => format!("[{}] {what}{more}", message.kind.label()),
    }
}

/// The whole of it, without its title.
#[must_use]
pub fn body(message: &Message) -> String {
    if message.alerts.is_empty() {
        return match message.kind {
            Kind::Alive => "If this stops coming, alerting is dead: look at the host.\n".into(),
            _ => "Nothing is wrong. Somebody tried `evenkeel alert test`.\n".into(),
        };
    }
    let mut out = String::new();
    for alert in &message.alerts {
        one(&mut out, alert);
    }
    if message.more > 0 {
        out.push_str(&format!("… and {} more: `evenkeel alert list`\n", message.more));
    }
    out
}

fn one(out: &mut String, alert: &Alert) {
    let finding = &alert.finding;
    let mut add = |name: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(&format!("{name:<10}{}\n", line(text)));
        }
    };
    add("What", &finding.what);
    add("Why", &finding.why);
    let end = alert.resolved.map(|at| {
        format!(", over since {} (after {})", at_text(at), span(at.saturating_sub(alert.since)))
    });
    add("Since", &format!("{}{}", at_text(alert.since), end.unwrap_or_default()));
    add("Affected", &finding.affected);
    for (n, done) in finding.done.iter().enumerate() {
        add(if n == 0 { "Done" } else { "" }, done);
    }
    if finding.done.is_empty() && alert.resolved.is_none() {
        add("Done", "nothing yet");
    }
    if let Some(by) = &alert.acknowledged {
        add("Seen to by", &format!(" {} since {}", by.owner, at_text(by.at)));
    }
    if alert.resolved.is_none() {
        add("Do", &finding.next);
        if alert.acknowledged.is_none() {
            add("Then", &format!("`evenkeel alert ack {}` says that you see to it", alert.id));
        }
    }
    out.push('\n');
}

/// For people, in UTC.
#[must_use]
pub fn at_text(at: Millis) -> String {
    humantime::format_rfc3339_seconds(
        UNIX_EPOCH + Duration::from_millis(at.min(253_402_300_799_000)),
    )
    .to_string()
}

fn span(ms: Millis) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

/// One line of bounded length: what others wrote must not draw what is not there.
fn line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.take(FIELD).collect();
    if text.chars().count() > FIELD {
        out.push('…');
    }
    out
}
