//! Shares, times and bytes, as people give them and read them.

use super::super::slo::render::percent;
use std::time::Duration;

/// A share as `0.999` or `99.9%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    let value: f64 = number.parse().map_err(|_| "a share such as 0.999 or 99.9%".to_owned())?;
    match (0.0..=1.0).contains(&(value / scale)) {
        true => Ok(value / scale),
        false if scale == 1.0 && (1.0..=100.0).contains(&value) => {
            Err(format!("from 0 to 1, or with a percent sign: {value}%"))
        }
        false => Err("from 0 to 1, or from 0% to 100%".into()),
    }
}

/// Requests a second, as `5`, `5/s`, `300/m` or `2000/h`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "requests a second, such as 5, or 300/m, or 2000/h".to_owned();
    let (number, per) = text.split_once('/').unwrap_or((text, "s"));
    let per = match per.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let value: f64 = number.trim().parse().map_err(|_| wrong())?;
    (value.is_finite() && value > 0.0).then_some(value / per).ok_or_else(wrong)
}

/// Bytes a second, as `5000`, `10MB/s` or `1GiB/h`.
pub(super) fn bytes_rate(text: &str) -> Result<f64, String> {
    let wrong = || "bytes a second, such as 5000, 10MB/s or 1GiB/h".to_owned();
    let (amount, per) = text.split_once('/').unwrap_or((text, "s"));
    let per = match per.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let amount = amount.trim();
    let unit = amount.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = amount.strip_suffix(unit).unwrap_or(amount);
    let scale = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let value: f64 = number.parse().map_err(|_| wrong())?;
    Ok(value * scale / per)
}

pub(super) fn bytes(n: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut n = n;
    let mut unit = 0;
    while n >= 1000.0 && unit + 1 < units.len() {
        n /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n:.0} B") } else { format!("{n:.1} {}", units[unit]) }
}

/// A time in its largest units, to what matters.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0 => "0 s".into(),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{} s", trimmed(s, 1)),
        s if s < 7200.0 => format!("{} min", trimmed(s / 60.0, 2)),
        s if s < 172_800.0 => format!("{} h", trimmed(s / 3600.0, 2)),
        s => format!("{} d", trimmed(s / 86_400.0, 2)),
    }
}

/// A number without idle zeros.
pub(super) fn trimmed(n: f64, digits: usize) -> String {
    let text = format!("{n:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A share, and what it means for a year.
pub(super) fn available(a: f64) -> String {
    let down = evenkeel_slo::availability::YEAR.mul_f64((1.0 - a).clamp(0.0, 1.0));
    format!("{}  (down {} a year)", percent(a), time(down))
}

/// A share as it stands in a formula.
pub(super) fn plain(a: f64) -> String {
    trimmed(a, 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        assert!(share("99.9%").is_ok_and(|a| (a - 0.999).abs() < 1e-12));
        assert_eq!(share("0.999"), Ok(0.999));
        assert!(share("99.9").unwrap_err().contains("99.9%"));
        assert!(share("-1").is_err() && share("nan").is_err() && share("x").is_err());
        assert_eq!((rate("300/m"), rate("5")), (Ok(5.0), Ok(5.0)));
        assert!(rate("5/d").is_err() && rate("0").is_err() && rate("inf").is_err());
        assert_eq!(bytes_rate("36MB/h"), Ok(10_000.0));
        assert!(bytes_rate("-5").is_err() && bytes_rate("5 cows").is_err());
        assert_eq!(bytes(3.66e9), "3.7 GB");
        assert_eq!(time(Duration::from_secs(31_536)), "8.76 h");
        assert_eq!(time(Duration::from_millis(3_153_600)), "52.56 min");
    }
}
