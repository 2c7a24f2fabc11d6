//! A snapshot in, text out: tables as wide as there is room for.

// By path, as this file is: the admin crate's tests find it, too.
#[path = "alerts.rs"]
mod alerts;
#[path = "budgets.rs"]
mod budgets;
#[path = "checks.rs"]
mod checks;
#[path = "incidents.rs"]
mod incidents;
#[path = "keys.rs"]
mod keys;
#[path = "nodes.rs"]
mod nodes;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use evenkeel_admin::view::{
    BatchView, JobView, Latency, OverrideView, ReplicaView, ScaleView, ServiceView, Snapshot,
    StandbyView,
};
use evenkeel_domain::answers::LEVELS;
use std::collections::BTreeMap;

/// The least room for the evidence; with less, other columns go first.
const WHY: usize = 16;

/// The state as text, `width` columns wide at most; without one as wide as it gets. Rates
/// are those since `before` where that is given, else those of the server's own window.
pub(crate) fn render(now: &Snapshot, before: Option<&Snapshot>, width: Option<usize>) -> String {
    let before = before.filter(|then| {
        // A process begun anew counts anew.
        then.gateway.started_unix_ms == now.gateway.started_unix_ms
            && then.at_unix_ms < now.at_unix_ms
    });
    let mut out = headline(now, width);
    out.push_str(&table(services(now, before), width));
    for service in &now.services {
        for tier in &service.overloaded {
            let (name, tier) = (clean(&service.name), tier.replace('_', " "));
            let line = format!("▲ {name} refuses {tier} requests: overloaded");
            out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
            out.push('\n');
        }
    }
    for service in &now.services {
        if let Some(scale) = &service.scale {
            let line = scaled(&service.name, scale, now.at_unix_ms);
            out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
            out.push('\n');
        }
    }
    for service in &now.services {
        if let Some(standby) = &service.standby {
            let line = standing_by(&service.name, standby, now.at_unix_ms);
            out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
            out.push('\n');
        }
    }
    alerts::lines(&mut out, now, width);
    budgets::lines(&mut out, &now.services, width);
    let replicas: Vec<&ReplicaView> = now.services.iter().flat_map(|s| &s.replicas).collect();
    if !replicas.is_empty() {
        out.push('\n');
        out.push_str(&table(replica_columns(&replicas, now, before), width));
    }
    if !now.keys.is_empty() {
        out.push('\n');
        out.push_str(&table(keys::columns(now), width));
    }
    if let Some(batch) = &now.batch {
        out.push_str(&format!("\n{}\n", batches(batch)));
    }
    for job in &now.jobs {
        let line = job_line(job, now.at_unix_ms);
        out.push('\n');
        out.extend(line.chars().take(width.unwrap_or(usize::MAX)));
    }
    if !now.jobs.is_empty() {
        out.push('\n');
    }
    nodes::lines(&mut out, &now.nodes, now.at_unix_ms, width);
    checks::lines(&mut out, &now.checks, now.at_unix_ms, width);
    if let Some(recovery) = &now.recovery {
        incidents::lines(&mut out, recovery, now.at_unix_ms, width);
    }
    for order in &now.overrides {
        out.push_str(&format!("\n{}", describe(order, now.at_unix_ms)));
    }
    if !now.overrides.is_empty() {
        out.push('\n');
    }
    out
}

/// A job in one line.
fn job_line(job: &JobView, now_ms: u64) -> String {
    let sign = match job.stage.as_str() {
        "running" | "done" => '●',
        "given_up" => '✖',
        "stopped" => '○',
        _ => '◐',
    };
    let on = job.node.as_ref().map_or_else(String::new, |node| format!(" on {}", clean(node)));
    let mut line = format!(
        "job {}{on}  {sign} {}  starts {}  failures {}  lost {}",
        clean(&job.name),
        job.stage.replace('_', "-"),
        job.starts,
        job.failures,
        age(job.lost_ms)
    );
    if let Some(at) = job.checkpoint_unix_ms {
        let ago = age(now_ms.saturating_sub(at));
        line.push_str(&format!("  checkpoint {} {ago} ago", clean(&job.checkpoint)));
    }
    format!("{line}  {}", clean(&job.why))
}

/// How many copies of a service run, and why.
fn scaled(service: &str, view: &ScaleView, now_ms: u64) -> String {
    let (copies, min, max) = (view.copies, view.min, view.max);
    let mut line =
        format!("{}: copies {copies} ({min} to {max}): {}", clean(service), clean(&view.why));
    if let Some(until) = view.ordered_until_unix_ms {
        line.push_str(&format!(" for {} more", age(until.saturating_sub(now_ms))));
    }
    if let Some(at) = view.last_unix_ms {
        let ago = age(now_ms.saturating_sub(at));
        line.push_str(&format!("; {ago} ago {}", clean(&view.last_why)));
    }
    line
}

/// How the standbys of a service are used.
fn standing_by(service: &str, view: &StandbyView, now_ms: u64) -> String {
    let sign = if view.serving < view.keep { "▲ " } else { "" };
    let (name, serving, keep) = (clean(service), view.serving, view.keep);
    let mut line = format!("{sign}{name}: {serving} of {keep} on duty");
    if let Some(at) = view.last_unix_ms {
        let ago = age(now_ms.saturating_sub(at));
        line.push_str(&format!("; {ago} ago {}", clean(&view.last)));
    }
    line
}

/// Batches in one line: what is open and what has ended, then lines and the store.
fn batches(view: &BatchView) -> String {
    let mut parts: Vec<String> = ["validating", "in_progress", "finalizing", "cancelling"]
        .into_iter()
        .chain(["completed", "failed", "expired", "cancelled"])
        .filter_map(|status| view.batches.get_key_value(status).filter(|(_, n)| **n > 0))
        .map(|(status, n)| format!("{n} {}", status.replace('_', " ")))
        .collect();
    if parts.is_empty() {
        parts.push("none".into());
    }
    let held = if view.executes_here { "" } else { "  (executed elsewhere)" };
    format!(
        "batches  {}  lines {} answered, {} failed, {} under way  store {}/{}{held}",
        parts.join(", "),
        view.lines_answered,
        view.lines_failed,
        view.lines_under_way,
        bytes(view.store_bytes),
        bytes(view.store_limit_bytes),
    )
}

fn headline(now: &Snapshot, width: Option<usize>) -> String {
    let g = &now.gateway;
    let state = match (g.draining, now.ready) {
        (true, _) => "◐ draining",
        (_, true) => "● ready",
        _ => "✖ not-ready",
    };
    let up = age(now.at_unix_ms.saturating_sub(g.started_unix_ms));
    let (used, limit) = (bytes(g.memory_used_bytes), bytes(g.memory_limit_bytes));
    let mut out = format!("evenkeel {}  {state}", clean(&now.version));
    for part in [
        format!("up {up}"),
        format!("pid {}", g.pid),
        format!("connections {}", g.connections),
        format!("memory {used}/{limit}"),
    ] {
        if width.is_none_or(|width| out.chars().count() + 2 + part.len() <= width) {
            out.push_str("  ");
            out.push_str(&part);
        }
    }
    out.push('\n');
    if let Some(why) = &g.reload_error {
        out.push_str(&format!("▲ reload refused, the old configuration stays: {}\n", clean(why)));
    }
    for service in &now.services {
        let level = service.answers.get("degrade_level").copied().unwrap_or(0);
        let what = usize::try_from(level).ok().and_then(|level| LEVELS.get(level));
        if let Some(what) = what.filter(|_| level > 0) {
            out.push_str(&format!("▲ {}: level {level}: {what}\n", clean(&service.name)));
        }
    }
    for service in &now.services {
        if let Some(other) = &service.failed_over_to {
            let (name, other) = (clean(&service.name), clean(other));
            out.push_str(&format!("▲ {name}: failed over, {other} answers\n"));
        }
    }
    out.push('\n');
    out
}

/// A column: its cells, and how dear it is (0 stays longest).
struct Column {
    title: &'static str,
    rank: u8,
    right: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        let widest = self.cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(self.title.len())
    }
}

fn column<T>(
    title: &'static str,
    rank: u8,
    right: bool,
    rows: &[T],
    cell: impl Fn(&T) -> String,
) -> Column {
    Column { title, rank, right, cells: rows.iter().map(cell).collect() }
}

/// Lays columns out; the dearest stay when not all fit, and only the last one wraps.
fn table(mut columns: Vec<Column>, width: Option<usize>) -> String {
    let wraps = |c: &Column| c.title == "WHY";
    let needs = |c: &Column| 2 + if wraps(c) { c.width().min(WHY) } else { c.width() };
    while let Some(width) = width
        && columns.iter().map(needs).sum::<usize>() > width + 2
        && let Some(rank) = columns.iter().map(|c| c.rank).max().filter(|rank| *rank > 0)
    {
        columns.retain(|c| c.rank < rank);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|c| c.title));
    for row in 0..columns.first().map_or(0, |c| c.cells.len()) {
        table.add_row(columns.iter().map(|c| c.cells[row].as_str()));
    }
    if let Some(width) = width {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for (from, to) in columns.iter().zip(table.column_iter_mut()) {
        to.set_padding((0, 2));
        if from.right {
            to.set_cell_alignment(CellAlignment::Right);
        }
        if !wraps(from) {
            to.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt() + "\n"
}

fn services(now: &Snapshot, before: Option<&Snapshot>) -> Vec<Column> {
    let rows = &now.services;
    let then = |s: &ServiceView| before?.services.iter().find(|old| old.name == s.name);
    let rate = |s: &ServiceView| {
        per_second(
            now,
            before,
            &s.requests,
            then(s).map(|old| &old.requests),
            s.requests_per_second,
        )
    };
    vec![
        column("SERVICE", 0, false, rows, |s| clean(&s.name)),
        column("TIER", 5, false, rows, |s| s.tier.replace('_', " ")),
        column("REPLICAS", 0, false, rows, |s| {
            let sign = if s.open == 0 {
                '✖'
            } else if s.open < s.expected {
                '▲'
            } else {
                '●'
            };
            format!("{sign} {}/{}", s.open, s.expected)
        }),
        column("ACTIVE", 1, true, rows, |s| s.active.to_string()),
        column("HELD", 4, true, rows, |s| s.held.to_string()),
        column("REQ/S", 1, true, rows, |s| number(rate(s))),
        column("ERR/S", 2, true, rows, |s| number(s.errors_per_second)),
        column("RETRIES", 5, true, rows, |s| (s.retries + s.resends + s.raced).to_string()),
        column("FIRST BYTE P50", 3, true, rows, |s| millis(s.first_byte.p50_ms)),
        column("P99", 3, true, rows, |s| millis(s.first_byte.p99_ms)),
        column("TOTAL P50", 4, true, rows, |s| millis(s.total.p50_ms)),
        column("P99", 4, true, rows, |s| millis(s.total.p99_ms)),
    ]
}

fn replica_columns(
    rows: &[&ReplicaView],
    now: &Snapshot,
    before: Option<&Snapshot>,
) -> Vec<Column> {
    let then = |r: &ReplicaView| {
        before?.services.iter().flat_map(|s| &s.replicas).find(|old| old.name == r.name)
    };
    let rate = |r: &ReplicaView| {
        per_second(
            now,
            before,
            &r.outcomes,
            then(r).map(|old| &old.outcomes),
            r.attempts_per_second,
        )
    };
    let process = |r: &ReplicaView| match &r.process {
        None => "-".into(),
        Some(p) if p.phase != "ready" => p.phase.replace('_', " "),
        Some(p) => p.pid.map_or_else(|| "ready".into(), |pid| format!("pid {pid}")),
    };
    let restarts =
        |r: &ReplicaView| r.process.as_ref().map_or("-".into(), |p| p.restarts.to_string());
    let since = |r: &ReplicaView| age(now.at_unix_ms.saturating_sub(r.since_unix_ms));
    let quantile =
        |pick: fn(&Latency) -> Option<f64>| move |r: &&ReplicaView| millis(pick(&r.first_byte));
    vec![
        column("REPLICA", 0, false, rows, |r| clean(&r.name)),
        column("HEALTH", 0, false, rows, |r| format!("{} {}", sign(&r.health), clean(&r.health))),
        column("FOR", 3, true, rows, |r| since(r)),
        column("IN FLIGHT", 2, true, rows, |r| in_flight(r)),
        column("REQ/S", 3, true, rows, |r| number(rate(r))),
        column("P50", 5, true, rows, quantile(|l| l.p50_ms)),
        column("P99", 4, true, rows, quantile(|l| l.p99_ms)),
        column("PROCESS", 5, false, rows, |r| process(r)),
        column("RESTARTS", 6, true, rows, |r| restarts(r)),
        column("WHY", 0, false, rows, |r| why(r, now.at_unix_ms)),
    ]
}

/// How many attempts it has, and of how many: where that is set, or was found.
fn in_flight(replica: &ReplicaView) -> String {
    match replica.max_in_flight > 0 || replica.limit_found {
        true => format!("{}/{}", replica.in_flight, replica.limit),
        false => replica.in_flight.to_string(),
    }
}

/// The evidence, and what is known of a process that is not ready.
fn why(replica: &ReplicaView, now_ms: u64) -> String {
    let mut parts = Vec::new();
    if let Some(level) = &replica.level {
        parts.push(format!("{level} {}", replica.role));
        parts.extend((replica.duty != replica.role).then(|| replica.duty.clone()));
    }
    parts.push(replica.why.clone());
    if let Some(p) = replica.process.as_ref().filter(|p| p.phase != "ready") {
        parts.extend(p.message.clone());
        parts.extend(p.progress.clone().filter(|_| p.phase == "starting"));
        parts.extend(p.last_exit.clone());
        let again = p.until_unix_ms.filter(|_| p.phase != "starting");
        parts.extend(again.map(|at| format!("next start in {}", age(at.saturating_sub(now_ms)))));
    }
    if replica.gate == "open" && replica.ramp < 1.0 {
        parts.push(format!("at {:.0}% of its share", replica.ramp * 100.0));
    }
    if let Some(via) = &replica.via {
        parts.push(format!("reached over {} for {}: {}", via.to, via.owner, via.why));
    }
    if replica.busy {
        parts.push("says it is busy".into());
    }
    if let Some(waiting) = replica.waiting.filter(|n| *n > 0) {
        parts.push(format!("{waiting} in its own queue"));
    }
    parts.retain(|part| !part.is_empty());
    clean(&parts.join("; "))
}

fn describe(order: &OverrideView, now_ms: u64) -> String {
    let left = order.until_unix_ms.map(|until| age(until.saturating_sub(now_ms)));
    let until = left.map_or_else(|| "until undrained".into(), |left| format!("for {left} more"));
    let (replica, owner) = (clean(&order.replica), clean(&order.owner));
    format!("{replica}: {} ordered by {owner}, {until}", clean(&order.order))
}

fn sign(health: &str) -> char {
    match health {
        "healthy" => '●',
        "starting" | "probation" | "draining" => '◐',
        "suspect" => '▲',
        "isolated" => '✖',
        _ => '○',
    }
}

fn per_second(
    now: &Snapshot,
    before: Option<&Snapshot>,
    counts: &BTreeMap<String, u64>,
    then: Option<&BTreeMap<String, u64>>,
    otherwise: f64,
) -> f64 {
    let (Some(before), Some(then)) = (before, then) else { return otherwise };
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let seconds = now.at_unix_ms.saturating_sub(before.at_unix_ms) as f64 / 1e3;
    sum(counts).saturating_sub(sum(then)) as f64 / seconds.max(0.001)
}

/// Text from elsewhere must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn number(n: f64) -> String {
    if n > 0.0 && n < 9.95 { format!("{n:.1}") } else { format!("{n:.0}") }
}

fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".into(),
        Some(ms) if ms < 9.95 => format!("{ms:.1} ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1e3),
    }
}

fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

fn bytes(n: u64) -> String {
    let (mut n, mut unit) = (n as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if n < 1024.0 {
            break;
        }
        (n, unit) = (n / 1024.0, next);
    }
    if n < 10.0 && unit != "B" { format!("{n:.1} {unit}") } else { format!("{n:.0} {unit}") }
}
