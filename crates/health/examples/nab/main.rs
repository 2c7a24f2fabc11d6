//! Scores the anomaly detector on series of the Numenta Anomaly Benchmark, beside the
//! benchmark's own windowed Gaussian.
//!
//! ```text
//! cargo run --release -p evenkeel-health --example nab -- DIRECTORY
//! ```
//! The directory holds `data/*/*.csv` and `labels/combined_windows.json` as in the benchmark's
//! repository; whatever series are there are scored.

mod gauss;
mod score;

use evenkeel_domain::clock;
use evenkeel_health::anomaly::Watch;
use score::{PROFILES, Scored, score};
use std::error::Error;
use std::fs;
use std::path::Path;

type Values = Vec<(u64, f64)>;
type Windows = Vec<(usize, usize)>;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("give the directory of the benchmark's data")?;
    let series = read(Path::new(&directory))?;
    println!("{} series\n", series.len());
    println!("| detector | standard | few false alarms | few misses | µs a value |");
    println!("|---|---|---|---|---|");
    row("windowed Gaussian", &series, gauss::scores);
    row("Evenkeel", &series, |values| {
        let mut watch = Watch::default();
        values.iter().map(|(at, value)| watch.observe(*at, *value).score).collect()
    });
    Ok(())
}

fn row(name: &str, series: &[(Values, Windows)], detect: impl Fn(&Values) -> Vec<f64>) {
    let begun = clock::now();
    let all: Vec<Scored> = series
        .iter()
        .map(|(values, windows)| Scored { scores: detect(values), windows: windows.clone() })
        .collect();
    let took = clock::now() - begun;
    let values: usize = series.iter().map(|(values, _)| values.len()).sum();
    let [standard, alarms, misses] = PROFILES.each_ref().map(|profile| score(&all, profile).0);
    let each = took.as_secs_f64() * 1e6 / values as f64;
    println!("| {name} | {standard:.1} | {alarms:.1} | {misses:.1} | {each:.2} |");
}

fn read(directory: &Path) -> Result<Vec<(Values, Windows)>, Box<dyn Error>> {
    let labels = fs::read(directory.join("labels/combined_windows.json"))?;
    let labels: serde_json::Value = serde_json::from_slice(&labels)?;
    let mut all = Vec::new();
    for group in fs::read_dir(directory.join("data"))? {
        let group = group?;
        for file in fs::read_dir(group.path())? {
            let file = file?;
            let name = format!("{}/{}", group.file_name().display(), file.file_name().display());
            let values = values(&fs::read_to_string(file.path())?).ok_or(name.clone())?;
            let windows = windows(&labels[&name], &values).ok_or(name)?;
            all.push((values, windows));
        }
    }
    Ok(all)
}

fn values(csv: &str) -> Option<Values> {
    let line = |line: &str| {
        let (at, value) = line.split_once(',')?;
        Some((seconds(at)?, value.parse().ok()?))
    };
    csv.lines().skip(1).map(line).collect()
}

fn windows(labels: &serde_json::Value, values: &Values) -> Option<Windows> {
    let place = |at: &serde_json::Value| {
        let at = seconds(at.as_str()?)?;
        values.iter().position(|(when, _)| *when == at)
    };
    labels.as_array()?.iter().map(|window| Some((place(&window[0])?, place(&window[1])?))).collect()
}

/// `2014-04-01 00:05:00` as seconds since the Unix epoch (Hinnant's days from civil).
fn seconds(text: &str) -> Option<u64> {
    let parts: Vec<u64> =
        text.split(['-', ' ', ':', '.']).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [year, month, day, hour, minute, second, ..] = parts[..] else { return None };
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year % 400;
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read() {
        assert_eq!(super::seconds("1970-01-01 00:00:00"), Some(0));
        assert_eq!(super::seconds("2015-02-28 23:59:59.000000"), Some(1_425_167_999));
        assert_eq!(super::seconds("2016-03-01 00:00:00"), Some(1_456_790_400));
    }
}
