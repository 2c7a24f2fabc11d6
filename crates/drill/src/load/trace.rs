//! Recorded traffic: when requests came and how large they were.
//!
//! Two public forms: the CSV of Azure's LLM inference traces and the JSON lines of
//! Mooncake's. Only times and sizes are in them, so prompts are made up at those sizes.

use crate::load::LoadError;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// The longest trace that is held in memory: about 100 MiB.
const MOST_RECORDS: usize = 4_000_000;
/// The longest line; Mooncake's carry block lists of some kilobytes.
const LINE_LIMIT: usize = 1 << 20;

/// One recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Since the first request of the trace.
    pub at: Duration,
    /// Tokens in the prompt.
    pub input: u32,
    /// Tokens in the answer.
    pub output: u32,
}

#[derive(Deserialize)]
struct JsonRecord {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

/// Where the three columns are.
struct Columns([usize; 3]);

/// Reads a trace; records come sorted by time.
///
/// # Errors
/// When the file cannot be read, with the line that is not understood.
pub fn read(path: &Path) -> Result<Vec<Record>, LoadError> {
    let file = File::open(path).map_err(|e| LoadError::file(path, e))?;
    parse(BufReader::new(file)).map_err(|why| LoadError::file(path, why))
}

fn parse(mut input: impl BufRead) -> Result<Vec<Record>, String> {
    let mut records: Vec<Record> = Vec::new();
    let mut columns = None;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut input, LINE_LIMIT as u64);
        let read = limited.read_line(&mut line).map_err(|e| format!("line {number}: {e}"))?;
        if read == 0 {
            break;
        }
        if records.len() == MOST_RECORDS {
            return Err(format!("longer than {MOST_RECORDS} requests; cut it"));
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let record = if text.starts_with('{') {
            json(text)
        } else if let Some(columns) = &columns {
            csv(text, columns)
        } else {
            columns = Some(header(text).map_err(|e| format!("line {number}: {e}"))?);
            continue;
        };
        records.push(record.map_err(|e| format!("line {number}: {e}"))?);
    }
    from_first(records)
}

/// Times become distances from the earliest.
fn from_first(mut records: Vec<Record>) -> Result<Vec<Record>, String> {
    records.sort_by_key(|r| r.at);
    let first = records.first().ok_or("no requests in it")?.at;
    for record in &mut records {
        record.at -= first;
    }
    Ok(records)
}

fn json(line: &str) -> Result<Record, String> {
    let record: JsonRecord = serde_json::from_str(line).map_err(|e| e.to_string())?;
    Ok(Record {
        at: seconds(record.timestamp / 1e3)?,
        input: record.input_length,
        output: record.output_length,
    })
}

fn header(line: &str) -> Result<Columns, String> {
    let names: Vec<&str> = line.split(',').map(str::trim).collect();
    let find = |wanted: &str| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
            .ok_or_else(|| format!("no column {wanted} (found {line})"))
    };
    Ok(Columns([find("TIMESTAMP")?, find("ContextTokens")?, find("GeneratedTokens")?]))
}

fn csv(line: &str, Columns([at, input, output]): &Columns) -> Result<Record, String> {
    let field = |index: usize| {
        line.split(',').nth(index).map(str::trim).ok_or_else(|| format!("too few columns: {line}"))
    };
    let number = |index: usize| {
        let text = field(index)?;
        text.parse::<u32>().map_err(|_| format!("`{text}` is no number of tokens"))
    };
    Ok(Record { at: timestamp(field(*at)?)?, input: number(*input)?, output: number(*output)? })
}

fn seconds(value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value).map_err(|e| format!("time {value}: {e}"))
}

/// Seconds, or a date and time, with a fraction of any length. Zones are ignored: only
/// distances matter, and a trace keeps to one zone.
fn timestamp(text: &str) -> Result<Duration, String> {
    if let Ok(plain) = text.parse::<f64>() {
        return seconds(plain);
    }
    date_time(text).ok_or_else(|| format!("`{text}` is no time"))
}

fn date_time(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let time = time.split(['+', 'Z', '-']).next()?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let mut time = time.splitn(3, ':');
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let hours: u64 = time.next()?.parse().ok()?;
    let minutes: u64 = time.next()?.parse().ok()?;
    let seconds = Duration::try_from_secs_f64(time.next()?.parse().ok()?).ok()?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let whole = days(year, month, day) * 86_400 + hours.min(24) * 3_600 + minutes.min(60) * 60;
    Some(Duration::from_secs(whole) + seconds)
}

/// Days since 1 March of year 0 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(millis: u64, input: u32, output: u32) -> Record {
        Record { at: Duration::from_millis(millis), input, output }
    }

    #[test]
    fn both_forms_are_read() {
        let csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                   2024-02-28 23:59:59.5000000,10,1\n2024-02-29 00:00:00.2500000,20,2\n\
                   2024-03-01 00:00:00,30,3\n";
        let want = [record(0, 10, 1), record(750, 20, 2), record(86_400_500, 30, 3)];
        assert_eq!(parse(csv.as_bytes()).unwrap(), want);
        let lines = "{\"timestamp\":250,\"input_length\":7,\"output_length\":8,\"hash_ids\":[0]}\n\
                     {\"timestamp\":100,\"input_length\":5,\"output_length\":6}\n";
        assert_eq!(parse(lines.as_bytes()).unwrap(), [record(0, 5, 6), record(150, 7, 8)]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let table = [
            ("", "no requests"),
            ("a,b\n1,2", "no column TIMESTAMP"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2", "line 2: `yesterday`"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n0,x,2", "line 2: `x`"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n-1,1,2", "line 2: time -1"),
            ("{\"timestamp\":1}", "line 1"),
        ];
        for (text, why) in table {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(why), "{text}: {got}");
        }
    }
}
