//! A report as one HTML file: light and dark, on a phone and on paper, with no network.

use crate::load::Second;
use crate::plan::{MarkKind, Verdict};
use crate::report::svg::{Chart, Line, MOST_POINTS};
use crate::report::{DrillReport, escaped, ms};
use std::fmt::Write;

const CSS: &str = include_str!("page.css");
/// Rows of a table; the JSON has the rest.
const MOST_ROWS: usize = 400;

pub(super) fn render(report: &DrillReport) -> String {
    let mut out = String::with_capacity(64 << 10);
    let name = escaped(&report.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light \
         dark\"><title>Drill {name}: {}</title>\n<style>{CSS}</style></head><body>\n",
        report.verdict.label()
    );
    head(report, &mut out);
    tiles(report, &mut out);
    expectations(report, &mut out);
    charts(report, &mut out);
    happenings(report, &mut out);
    failures(report, &mut out);
    let _ = write!(
        out,
        "<h2>The drill</h2><pre>{}</pre>\n</body></html>\n",
        escaped(report.file.trim())
    );
    out
}

fn head(report: &DrillReport, out: &mut String) {
    let at = report.started_unix_ms / 1000;
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(at));
    let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string()).unwrap_or_default();
    let on = match report.replicas.as_slice() {
        [] => "Evenkeel itself".to_owned(),
        names => escaped(&names.join(", ")),
    };
    let label = report.verdict.label();
    let _ = writeln!(
        out,
        "<h1>{}<span class=\"verdict {label}\">{label}</span></h1><p>{}</p><p class=\"dim\">service \
         {} · on {on} · {at}</p>",
        escaped(&report.name),
        escaped(&report.about),
        escaped(&report.service)
    );
    if let (Verdict::Aborted, Some(why)) = (report.verdict, &report.aborted) {
        let _ = writeln!(
            out,
            "<p class=\"not\" style=\"white-space:normal\">Broken off: {}</p>",
            escaped(why)
        );
    }
}

fn tiles(report: &DrillReport, out: &mut String) {
    let figures = &report.figures;
    let or_not = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), ms);
    let success = figures.success.map_or_else(
        || "–".to_owned(),
        // Never rounded up to 100 % while something failed.
        |share| format!("{} %", (share * 1e5).floor() / 1e3),
    );
    out.push_str("<div class=\"tiles\">");
    for (value, what) in [
        (success, format!("answered well, of {}", figures.requests)),
        (figures.failed.to_string(), "failed".into()),
        (or_not(figures.mttd_ms), "to detect (MTTD)".into()),
        (or_not(figures.mttr_ms), "until all serve (MTTR)".into()),
        (ms(figures.rto_ms), "clients noticed (RTO)".into()),
        (ms(figures.longest_gap_ms), "longest without an answer".into()),
        (ms(figures.longest_wait_ms), "longest wait for one".into()),
    ] {
        let _ = write!(out, "<div class=\"tile\"><b>{value}</b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

fn expectations(report: &DrillReport, out: &mut String) {
    out.push_str(
        "<h2>Expectations</h2><table class=\"wide\"><thead><tr><th>what</th><th>expected</th>\
         <th>seen</th><th></th></tr></thead>",
    );
    for checked in &report.checked {
        let (class, word) = if checked.holds { ("held", "held") } else { ("not", "not held") };
        let _ = write!(
            out,
            "<tr><td><b>{}</b></td><td data-l=\"expected\">{}</td><td data-l=\"seen\">{}</td><td \
             class=\"{class}\">{word}</td></tr>",
            escaped(&checked.what),
            escaped(&checked.expected),
            escaped(&checked.seen)
        );
    }
    out.push_str("</table>\n");
}

fn charts(report: &DrillReport, out: &mut String) {
    let seconds = coarse(&report.load.timeline);
    let end = seconds.last().map_or(0, |s| (s.at_s + s.width_s) * 1000);
    let end = report.marks.last().map_or(end, |mark| end.max(mark.at_ms)).max(1000);
    out.push_str("<h2>What clients saw</h2>\n<figure>");
    out.push_str(&answers(report, &seconds, end));
    out.push_str(
        "<figcaption>Answers a second<span class=\"key k-ok\"></span>good<span class=\"key k-bad\">\
         </span>failed<span class=\"key k-fault\"></span>fault in place</figcaption></figure>\n<figure>",
    );
    out.push_str(&waits(report, &seconds, end));
    out.push_str(
        "<figcaption>How long they waited<span class=\"key k-p50\"></span>median<span class=\"key \
         k-p99\"></span>99th percentile<span class=\"key k-ttft\"></span>first token, median\
         </figcaption></figure>\n",
    );
    out.push_str("<h2>What Evenkeel saw</h2>\n<figure>");
    let rows = report.lanes.len().min(32);
    let title = "states of replicas over time";
    let mut chart = Chart::new(50.0 + 30.0 * rows as f64, end, 0.0, "", title);
    chart.faults(&report.faults);
    for (row, lane) in report.lanes.iter().take(rows).enumerate() {
        chart.lane(lane, row, rows);
    }
    out.push_str(&chart.end());
    out.push_str(
        "<figcaption>States<span class=\"key k-ok\"></span>healthy<span class=\"key k-teal\"></span>\
         probation<span class=\"key k-warn\"></span>suspect<span class=\"key k-bad\"></span>isolated or \
         silent<span class=\"key k-blue\"></span>starting</figcaption></figure>\n",
    );
}

fn answers(report: &DrillReport, seconds: &[Second], end: u64) -> String {
    let each = |count: u64, second: &Second| count as f64 / second.width_s.max(1) as f64;
    let most = seconds.iter().map(|s| each(s.ok + s.failed, s)).fold(0.0, f64::max);
    let mut chart = Chart::new(190.0, end, most.max(1.0), "/s", "good and failed answers a second");
    chart.faults(&report.faults);
    for second in seconds {
        let at = (second.at_s as f64 * 1e3, second.width_s as f64 * 1e3);
        let (ok, failed) = (each(second.ok, second), each(second.failed, second));
        chart.bar("ok", at, 0.0, ok);
        chart.bar("bad", at, ok, ok + failed);
    }
    chart.end()
}

fn waits(report: &DrillReport, seconds: &[Second], end: u64) -> String {
    let most = seconds.iter().filter_map(|s| s.p99_ms).fold(1.0, f64::max);
    let mut chart = Chart::new(190.0, end, most, " ms", "waiting times by the second");
    chart.faults(&report.faults);
    let line = |class, value: fn(&Second) -> Option<f64>| {
        let middle = |s: &Second| (s.at_s as f64 + s.width_s as f64 / 2.0) * 1e3;
        let points = seconds.iter().filter_map(|s| Some((middle(s), value(s)?))).collect();
        Line { class, points }
    };
    chart.line(&line("p99", |s| s.p99_ms));
    chart.line(&line("p50", |s| s.p50_ms));
    chart.line(&line("ttft", |s| s.ttft_ms));
    chart.end()
}

/// No more points than a screen has columns; waiting times are then the worst of each group.
fn coarse(seconds: &[Second]) -> Vec<Second> {
    let group = seconds.len().div_ceil(MOST_POINTS).max(1);
    let worst = |all: &[Second], value: fn(&Second) -> Option<f64>| {
        all.iter().filter_map(value).reduce(f64::max)
    };
    let joined = |all: &[Second]| Second {
        at_s: all[0].at_s,
        width_s: all.iter().map(|s| s.width_s).sum(),
        offered: all.iter().map(|s| s.offered).sum(),
        ok: all.iter().map(|s| s.ok).sum(),
        failed: all.iter().map(|s| s.failed).sum(),
        p50_ms: worst(all, |s| s.p50_ms),
        p99_ms: worst(all, |s| s.p99_ms),
        ttft_ms: worst(all, |s| s.ttft_ms),
    };
    seconds.chunks(group).map(joined).collect()
}

fn happenings(report: &DrillReport, out: &mut String) {
    out.push_str(
        "<h2>What happened</h2><table><thead><tr><th>after</th><th></th><th></th></tr></thead>",
    );
    for mark in report.marks.iter().take(MOST_ROWS) {
        let (class, word) = match mark.kind {
            MarkKind::Phase => ("phase", "phase"),
            MarkKind::Fault => ("fault", "fault"),
            MarkKind::Removed => ("fault", "removed"),
            MarkKind::Detected => ("detected", "detected"),
            MarkKind::Recovered => ("recovered", "recovered"),
            MarkKind::Event => ("event", ""),
            MarkKind::Aborted => ("aborted", "aborted"),
        };
        let _ = write!(
            out,
            "<tr class=\"m-{class}\"><td class=\"n\">{:.1} s</td><td class=\"w\">{word}</td><td>{}</td></tr>",
            mark.at_ms as f64 / 1e3,
            escaped(&mark.text)
        );
    }
    out.push_str("</table>\n");
    if report.marks.len() > MOST_ROWS {
        let more = report.marks.len() - MOST_ROWS;
        let _ = writeln!(out, "<p class=\"dim\">… and {more} more, in the JSON.</p>");
    }
}

fn failures(report: &DrillReport, out: &mut String) {
    if report.load.failures.is_empty() {
        return;
    }
    out.push_str("<h2>How requests failed</h2><table>");
    for failure in &report.load.failures {
        let _ = write!(
            out,
            "<tr><td class=\"n\">{} ×</td><td>{}</td><td class=\"n\">{:.1} s</td><td>{}</td></tr>",
            failure.count,
            failure.outcome.name(),
            failure.at_s,
            escaped(&failure.text)
        );
    }
    out.push_str("</table>\n");
}
