//! A report as tables for a terminal.

use crate::report::{DrillReport, ms};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use std::fmt::Write;

pub(super) fn render(report: &DrillReport) -> String {
    let mut out = format!("{}: {}", report.name, report.verdict.label());
    if let Some(why) = &report.aborted {
        let _ = write!(out, " ({why})");
    }
    out.push('\n');
    let mut expectations = Table::new();
    expectations.load_style(UTF8_FULL_CONDENSED);
    expectations.set_header(["expectation", "expected", "seen", ""]);
    for checked in &report.checked {
        let mark = if checked.holds { "held" } else { "NOT HELD" };
        expectations.add_row([&checked.what, &checked.expected, &checked.seen, mark]);
    }
    let _ = writeln!(out, "{expectations}");
    let figures = &report.figures;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "detected (MTTD)",
        "repaired (MTTR)",
        "clients (RTO)",
        "longest gap",
        "longest wait",
        "requests",
        "failed",
    ]);
    let or_not = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), ms);
    table.add_row([
        or_not(figures.mttd_ms),
        or_not(figures.mttr_ms),
        ms(figures.rto_ms),
        ms(figures.longest_gap_ms),
        ms(figures.longest_wait_ms),
        figures.requests.to_string(),
        figures.failed.to_string(),
    ]);
    let _ = writeln!(out, "{table}");
    for failure in &report.load.failures {
        let text: String = failure.text.chars().filter(|c| !c.is_control()).take(160).collect();
        let _ = writeln!(
            out,
            "  {} x {} at {:.1} s: {text}",
            failure.count,
            failure.outcome.name(),
            failure.at_s
        );
    }
    out
}
