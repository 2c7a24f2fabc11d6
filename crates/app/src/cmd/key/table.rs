//! Keys as a table.

use crate::config::keys::KeyConfig;
use comfy_table::{Table, presets};
use evenkeel_domain::settings::Quota;
use std::path::Path;

/// Keys, each with the file it is in.
pub(super) fn render(keys: &[(&KeyConfig, &Path)], now_unix_ms: u64) -> String {
    let mut table = Table::new();
    let titles = ["ID", "STATE", "TENANT", "TIER", "SERVICES", "LIMITS", "EXPIRES", "FILE"];
    table.load_style(presets::NOTHING).set_header(titles);
    for (key, file) in keys {
        let state = key.settings().map_or("bad", |settings| settings.state(now_unix_ms));
        table.add_row([
            key.id.clone(),
            state.to_owned(),
            or_dash(key.tenant.as_deref()),
            or_dash(key.tier.map(|tier| tier.label())),
            key.services.as_ref().map_or("all".to_owned(), |names| names.join(", ")),
            limits(&key.limits),
            or_dash(key.expires.as_deref()),
            file.display().to_string(),
        ]);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt() + "\n"
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn limits(quota: &Quota) -> String {
    let requests = quota.requests_per_minute.map(|n| format!("{n} requests/min"));
    let tokens = quota.tokens_per_minute.map(|n| format!("{n} tokens/min"));
    let streams = quota.streams.map(|n| format!("{n} streams"));
    let all: Vec<_> = [requests, tokens, streams].into_iter().flatten().collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
