//! Keys and tenants: what was asked for with each, and what is left of its limits.

use super::{Column, clean, column};
use evenkeel_admin::view::{LimitsView, Snapshot, UsageView};

/// One line of the table.
struct Row<'a> {
    name: String,
    tenant: &'a str,
    state: &'a str,
    limits: &'a LimitsView,
    usage: &'a UsageView,
}

/// Keys, then tenants with what their keys use together.
pub(super) fn columns(now: &Snapshot) -> Vec<Column> {
    let keys = now.keys.iter().map(|key| Row {
        name: clean(&key.id),
        tenant: key.tenant.as_deref().unwrap_or("-"),
        state: &key.state,
        limits: &key.limits,
        usage: &key.usage,
    });
    let tenants = now.tenants.iter().map(|tenant| Row {
        name: "(all)".into(),
        tenant: &tenant.name,
        state: "-",
        limits: &tenant.limits,
        usage: &tenant.usage,
    });
    let rows: Vec<Row<'_>> = keys.chain(tenants).collect();
    let rows = &rows[..];
    vec![
        column("KEY", 0, false, rows, |r| r.name.clone()),
        column("TENANT", 3, false, rows, |r| clean(r.tenant)),
        column("STATE", 1, false, rows, |r| match r.state {
            "active" | "-" => clean(r.state),
            other => format!("✖ {}", clean(other)),
        }),
        column("REQUESTS", 1, true, rows, |r| r.usage.requests.to_string()),
        column("REFUSED", 2, true, rows, |r| r.usage.refused.to_string()),
        column("PROMPT TOKENS", 4, true, rows, |r| r.usage.prompt_tokens.to_string()),
        column("ANSWER TOKENS", 4, true, rows, |r| r.usage.completion_tokens.to_string()),
        column("STREAMS", 3, true, rows, |r| {
            of(Some(r.usage.streams.into()), r.limits.streams.map(u64::from))
        }),
        column("REQ LEFT", 5, true, rows, |r| {
            of(r.limits.requests_remaining, r.limits.requests_per_minute)
        }),
        column("TOKENS LEFT", 5, true, rows, |r| {
            of(r.limits.tokens_remaining, r.limits.tokens_per_minute)
        }),
    ]
}

/// `3/10`; without a limit the number alone, without a number a dash.
fn of(number: Option<u64>, limit: Option<u64>) -> String {
    match (number, limit) {
        (Some(number), Some(limit)) => format!("{number}/{limit}"),
        (Some(number), None) => number.to_string(),
        (None, _) => "-".into(),
    }
}
