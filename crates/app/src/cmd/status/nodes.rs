//! Nodes in a line each: whether they are there, and whether orders get through.

use super::{age, clean};
use evenkeel_admin::view::NodeView;

/// A certificate that ends within this (milliseconds) is worth a word: 60 days.
const SOON: u64 = 60 * 86_400_000;

/// Adds the lines.
pub(super) fn lines(out: &mut String, nodes: &[NodeView], now: u64, width: Option<usize>) {
    if !nodes.is_empty() {
        out.push('\n');
    }
    for node in nodes {
        let line = describe(node, now);
        out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
        out.push('\n');
    }
}

fn describe(node: &NodeView, now: u64) -> String {
    let sign = match (node.state.as_str(), node.connected) {
        ("up", true) => '●',
        ("silent", _) => '✖',
        ("unknown", _) => '○',
        _ => '▲',
    };
    let (name, state, address) = (clean(&node.name), clean(&node.state), clean(&node.address));
    let mut line = format!("{sign} {state} node {name} at {address}: φ {:.1}", node.phi);
    if let Some(rtt) = node.rtt_ms {
        line.push_str(&format!(", round trip {rtt:.1} ms"));
    }
    if node.state != "up"
        && let Some(ago) = node.heard_ms_ago
    {
        line.push_str(&format!(", heard {} ago", age(ago)));
    }
    if !node.seen_by.is_empty() {
        line.push_str(&format!(", heard by {}", clean(&node.seen_by.join(", "))));
    }
    if !node.connected {
        line.push_str("; orders do not get through");
    }
    if let Some(why) = &node.why {
        line.push_str(&format!(": {}", clean(why)));
    }
    if let Some(end) = node.expires_unix_ms.filter(|end| *end < now.saturating_add(SOON)) {
        let left = age(end.saturating_sub(now));
        line.push_str(&format!("; its certificate ends in {left}: `evenkeel node new`"));
    }
    line
}
