//! A report as tables.

use crate::load::report::{Quantiles, Report};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

pub(crate) fn render(report: &Report) -> String {
    let mut out = summary(report);
    let _ = writeln!(out, "{}", times(report));
    if report.totals.failed > 0 {
        let _ = writeln!(out, "{}", outcomes(report));
        failures(report, &mut out);
    }
    out
}

fn summary(report: &Report) -> String {
    let totals = &report.totals;
    let mut out = format!("{} requests in {:.1} s, ", totals.requests, totals.elapsed_s);
    let _ = write!(out, "{:.1}/s: {} ok, {} failed", totals.rate, totals.ok, totals.failed);
    if let Some(success) = totals.success {
        let _ = write!(out, " (success {})", percent(success));
    }
    for (count, what) in [
        (totals.unsent, "due but not sent"),
        (totals.interrupted, "interrupted"),
        (totals.warm_up, "in warm-up"),
        (totals.retries, "retries"),
    ] {
        if count > 0 {
            let _ = write!(out, ", {count} {what}");
        }
    }
    if totals.tokens > 0 {
        let _ = write!(out, "; {} tokens, {:.0}/s", totals.tokens, totals.token_rate);
    }
    if totals.ended_early {
        out.push_str("; ended early");
    }
    out.push('\n');
    out
}

/// Never rounded up to 100 % while something failed.
fn percent(share: f64) -> String {
    let shown = (share * 1e6).floor() / 1e4;
    format!("{shown} %")
}

fn times(report: &Report) -> Table {
    let mut table = new_table();
    table.set_header(["ms", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"]);
    let rows = [
        ("latency", &report.latency),
        ("first token", &report.ttft),
        ("gap between tokens", &report.gap),
        ("until failure", &report.failed_wait),
        ("until refusal", &report.refused_wait),
        ("sent late by", &report.send_delay),
    ];
    for (name, quantiles) in rows {
        if quantiles.count > 0 {
            table.add_row(row(name, quantiles));
        }
    }
    align_right(&mut table);
    table
}

fn row(name: &str, q: &Quantiles) -> Vec<String> {
    let times = [q.mean, q.p50, q.p90, q.p95, q.p99, q.p99_9, q.max];
    let mut row = vec![name.to_owned(), q.count.to_string()];
    row.extend(
        times.iter().map(|ms| if *ms < 100.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }),
    );
    row
}

fn outcomes(report: &Report) -> Table {
    let mut table = new_table();
    table.set_header(["outcome", "requests"]);
    for (name, count) in report.outcomes.iter().filter(|(_, count)| **count > 0) {
        table.add_row([(*name).to_owned(), count.to_string()]);
    }
    align_right(&mut table);
    table
}

fn failures(report: &Report, out: &mut String) {
    out.push_str("first failures:\n");
    for failure in &report.failures {
        let name = failure.outcome.name();
        // What a server sent may hold control characters; a terminal must not obey them.
        let text: String =
            failure.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "  {:8.2} s  {}x {name}: {text}", failure.at_s, failure.count);
    }
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

fn align_right(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_in_a_million_is_not_100_percent() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_999_9), "99.9999 %");
    }
}
