//! What services promised and kept, as text.

use super::super::times::{ago, clock};
use comfy_table::{CellAlignment, Table, presets};
use evenkeel_admin::view::{BudgetView, RuleView, ServiceSlo, SloView, SpreadView};

/// All services, one below the other.
pub(super) fn render(view: &SloView) -> String {
    let mut out = String::new();
    if let Some(why) = &view.error {
        out.push_str(&format!("▲ the account is not written: {}\n\n", clean(why)));
    }
    if view.clock_steps > 0 {
        let n = view.clock_steps;
        out.push_str(&format!("▲ the wall clock was stepped {n} times; the account was not\n\n"));
    }
    let services: Vec<String> = view.services.iter().map(service).collect();
    out.push_str(&services.join("\n"));
    if view.services.is_empty() && view.error.is_none() {
        out.push_str("nothing is known yet\n");
    }
    out
}

fn service(s: &ServiceSlo) -> String {
    let latency = s.latency.as_ref().map_or_else(String::new, |l| {
        format!("; {} of answers begin within {}", percent(l.objective), time(l.seconds))
    });
    let mut out = format!(
        "{}  promises {} over {}{latency}; known since {}\n\n",
        clean(&s.service),
        percent(s.objective),
        time(s.window_seconds),
        clock(s.since_unix_ms)
    );
    out.push_str(&kept(s));
    out.push_str(&format!("\n{}\n", of_time(s)));
    out.push_str(&format!("{}\n\n", of_requests(s)));
    out.push_str(&burns(s));
    if s.detect.is_some() || s.repair.is_some() {
        out.push('\n');
        out.push_str(&incidents(s));
    }
    let said = said(s);
    if !said.is_empty() {
        out.push_str(&format!("\n{said}"));
    }
    out
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if n > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

fn kept(s: &ServiceSlo) -> String {
    let row = |budget: &BudgetView| {
        let by_time = budget.sli == "time";
        let kept = match budget.sli.as_str() {
            "time" => s.time.availability,
            "requests" => s.requests.availability,
            _ => s.latency.as_ref().and_then(|l| l.kept),
        };
        let amount = |n: f64| if by_time { time(n) } else { format!("{}", n.floor()) };
        let what = match budget.sli.as_str() {
            "time" => "time up",
            "requests" => "requests answered",
            _ => "answers in time",
        };
        vec![
            what.into(),
            kept.map_or("-".into(), percent),
            amount(budget.allowed),
            amount(budget.used),
            budget.left.map_or("too few to tell".into(), left),
        ]
    };
    let header = ["", "KEPT", "MAY FAIL", "FAILED", "BUDGET LEFT"];
    table(&header, s.budgets.iter().map(row).collect())
}

fn of_time(s: &ServiceSlo) -> String {
    let t = &s.time;
    let mut line = format!(
        "time      {} up, {} down, {} planned, {} unknown",
        time(t.up_seconds),
        time(t.down_seconds),
        time(t.planned_seconds),
        time(t.unknown_seconds)
    );
    if let Some(all) = t.availability_with_planned.filter(|_| t.planned_seconds > 0.0) {
        line.push_str(&format!("; {} with what was planned", percent(all)));
    }
    line
}

fn of_requests(s: &ServiceSlo) -> String {
    let r = &s.requests;
    let mut line = format!("requests  {} valid, {} failed", r.valid, r.bad);
    if let (Some(p), Some(low), Some(high)) = (r.failure, r.failure_low, r.failure_high) {
        let [p, low, high] = [p, low, high].map(|share| share * 100.0);
        line.push_str(&format!(
            ": one fails with a probability of {} % (95 %: {} to {} %)",
            digits(p),
            digits(low),
            digits(high)
        ));
    }
    line
}

fn burns(s: &ServiceSlo) -> String {
    let mut rules: Vec<&RuleView> = Vec::new();
    let mut slis: Vec<&str> = Vec::new();
    for rule in &s.rules {
        if !rules.iter().any(|known| known.rule == rule.rule) {
            rules.push(rule);
        }
        if !slis.contains(&&*rule.sli) {
            slis.push(&rule.sli);
        }
    }
    let windows = rules.iter().map(|r| {
        let [long, short] = [r.long_seconds, r.short_seconds].map(time);
        format!("{long} / {short}")
    });
    let header: Vec<String> = std::iter::once("BURN OVER".to_owned()).chain(windows).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows: Vec<Vec<String>> = slis
        .iter()
        .map(|sli| {
            let of = s.rules.iter().filter(|r| r.sli == **sli);
            let cells = of.map(|r| format!("{} / {}", digits(r.long), digits(r.short)));
            std::iter::once((*sli).to_owned()).chain(cells).collect()
        })
        .collect();
    let asks = rules.iter().map(|r| format!("{} from {}", r.severity, digits(r.factor)));
    rows.push(std::iter::once("asks for a".to_owned()).chain(asks).collect());
    table(&header, rows)
}

fn incidents(s: &ServiceSlo) -> String {
    let row = |name: &str, spread: &Option<SpreadView>| {
        let mut row = vec![name.to_owned()];
        match spread {
            None => row.extend(["0", "-", "-", "-"].map(str::to_owned)),
            Some(spread) => {
                row.push(spread.count.to_string());
                row.extend([spread.p50_seconds, spread.p90_seconds, spread.max_seconds].map(time));
            }
        }
        row
    };
    let rows = vec![
        row("until known (MTTD)", &s.detect),
        row("until it served (MTTR)", &s.repair),
        row("until the next (MTBF)", &s.between),
    ];
    table(&["INCIDENTS", "COUNT", "HALF WITHIN", "9 IN 10 WITHIN", "LONGEST"], rows)
}

/// What somebody has to know.
fn said(s: &ServiceSlo) -> String {
    let mut out = String::new();
    for rule in &s.rules {
        let Some(since) = rule.since_unix_ms else { continue };
        let sign = if rule.severity == "page" { '✖' } else { '▲' };
        out.push_str(&format!(
            "{sign} {}: {} by {} since {}: {} times faster than allowed, now {}\n",
            rule.severity,
            rule.rule,
            rule.sli,
            clock(since),
            digits(rule.long),
            digits(rule.short)
        ));
    }
    if let Some(exhausted) = &s.exhausted {
        let at = clock(exhausted.at_unix_ms);
        out.push_str(&format!("▲ {} ({at})\n", clean(&exhausted.text)));
    }
    out
}

/// A share in percent, with as many digits as it has nines, and never rounded up: what is not
/// whole does not read as whole.
pub(in super::super) fn percent(share: f64) -> String {
    let missing = 1.0 - share;
    if missing <= 0.0 {
        return "100 %".into();
    }
    let digits = (-missing.log10()).ceil().clamp(2.0, 7.0) - 1.0;
    let scale = 10f64.powf(digits);
    // 99.9 is not quite 99.9 as a binary fraction.
    let cut = (share * 100.0 * scale + 1e-6).floor() / scale;
    let text = format!("{cut:.*}", digits as usize);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

fn left(share: f64) -> String {
    format!("{:.1} %", (share * 1000.0).floor() / 10.0)
}

fn time(seconds: f64) -> String {
    let ms = (seconds * 1e3).round().max(0.0);
    match seconds {
        s if s < 60.0 && s % 1.0 == 0.0 => format!("{s}s"),
        s if s >= 86_400.0 && s % 86_400.0 == 0.0 => format!("{}d", s / 86_400.0),
        s if (3600.0..86_400.0).contains(&s) && s % 3600.0 == 0.0 => format!("{}h", s / 3600.0),
        s if (60.0..3600.0).contains(&s) && s % 60.0 == 0.0 => format!("{}m", s / 60.0),
        _ => ago(ms as u64),
    }
}

/// Three digits that say something.
fn digits(n: f64) -> String {
    let text = match n {
        0.0 => return "0".into(),
        n if n >= 100.0 => return format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 0.01 => format!("{n:.2}"),
        n => format!("{n:.4}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_show_and_nothing_is_rounded_up() {
        for (share, text) in [
            (1.0, "100 %"),
            (0.999, "99.9 %"),
            (0.999_9, "99.99 %"),
            (0.999_886, "99.988 %"),
            (0.999_999_9, "99.99999 %"),
            (0.999_999_999, "99.999999 %"),
            (0.5, "50 %"),
            (0.0, "0 %"),
        ] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(
            [0.0, 14.4, 0.123, 250.0, 0.000_2].map(digits),
            ["0", "14.4", "0.12", "250", "0.0002"]
        );
        assert_eq!(
            [2_592_000.0, 3600.0, 300.0, 2592.0, 2.0].map(time),
            ["30d", "1h", "5m", "43m 12s", "2s"]
        );
    }
}
