//! What a script says. Pure.
//!
//! ```text
//! DISK WARNING - 91% of / used | '/'=91%;90;95;0;100 inodes=12%
//! └── for people ────────────┘   └── label=value[UOM];warn;crit;min;max …
//! ```
//! (The Nagios Plugins' development guidelines.) Or JSON: `{"status": "ok", "message": "…",
//! "values": {"queue": 3}}`, of which everything may be left out.

use super::super::{VALUES, value};
use evenkeel_domain::check::{CheckState, CheckValue, Unit};
use serde::Deserialize;
use std::collections::BTreeMap;

/// State, text for people, and what was measured.
pub(super) fn read(code: i32, output: &str) -> (CheckState, String, Vec<CheckValue>) {
    let by_code = match code {
        0 => CheckState::Ok,
        1 => CheckState::Warning,
        2 => CheckState::Critical,
        _ => CheckState::Unknown,
    };
    if output.trim_start().starts_with('{') {
        return json(by_code, output);
    }
    let (text, values) = plugin(output);
    let text = match (text.is_empty(), code) {
        (true, _) => format!("exit code {code}, and no text"),
        (false, 0..=3) => text,
        (false, _) => format!("exit code {code}, which is none of 0 to 3: {text}"),
    };
    (by_code, text, values)
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    values: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Code(u8),
    Word(String),
}

impl Status {
    fn state(&self) -> Option<CheckState> {
        CheckState::ALL.into_iter().find(|state| match self {
            Self::Code(code) => state.code() == *code,
            Self::Word(word) => state.label().eq_ignore_ascii_case(word),
        })
    }
}

/// The worse of what it says and what its exit code says.
fn json(by_code: CheckState, output: &str) -> (CheckState, String, Vec<CheckValue>) {
    let said: Json = match serde_json::from_str(output) {
        Ok(said) => said,
        Err(error) => {
            let text = format!("its JSON cannot be read: {error}");
            return (by_code.worse(CheckState::Unknown), text, Vec::new());
        }
    };
    let values = said.values.iter().map(|(name, v)| value(name, *v, Unit::Number));
    let values = values.take(VALUES).collect();
    match said.status.as_ref().map(Status::state) {
        None => (by_code, said.message, values),
        Some(Some(state)) => (by_code.worse(state), said.message, values),
        Some(None) => {
            let text = "`status` is none of ok, warning, critical, unknown";
            (by_code.worse(CheckState::Unknown), format!("{text}: {}", said.message), values)
        }
    }
}

/// The first line's text, and all performance data: behind the first `|` of the first line,
/// and behind the next one in all lines from there on.
fn plugin(output: &str) -> (String, Vec<CheckValue>) {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (text, data) = first.split_once('|').unwrap_or((first, ""));
    let more = rest.split_once('|').map_or("", |(_, data)| data);
    let mut values = Vec::new();
    for data in [data, more] {
        performance(data, &mut values);
    }
    values.truncate(VALUES);
    (text.trim().to_owned(), values)
}

fn performance(mut data: &str, values: &mut Vec<CheckValue>) {
    loop {
        data = data.trim_start();
        let (label, after) = match data.strip_prefix('\'') {
            // Within quotes two of them are one.
            Some(quoted) => {
                let Some(end) = quoted.replace("''", "\u{1}\u{1}").find('\'') else { return };
                (quoted[..end].replace("''", "'"), &quoted[end + 1..])
            }
            None => {
                let Some(end) = data.find('=') else { return };
                (data[..end].to_owned(), &data[end..])
            }
        };
        let Some(after) = after.strip_prefix('=') else { return };
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (item, next) = after.split_at(end);
        let measured = item.split(';').next().unwrap_or_default();
        if let Some((number, unit)) = amount(measured)
            && !label.is_empty()
        {
            values.push(value(&label, number, unit));
        }
        data = next;
    }
}

/// A number with a unit of measurement. `U` is for a value that could not be found out.
fn amount(text: &str) -> Option<(f64, Unit)> {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+' | 'e' | 'E');
    let end = text.find(|c| !numeric(c)).unwrap_or(text.len());
    let number: f64 = text[..end].replace(',', ".").parse().ok()?;
    let (times, unit) = match &text[end..] {
        "s" => (1.0, Unit::Seconds),
        "ms" => (1e-3, Unit::Seconds),
        "us" => (1e-6, Unit::Seconds),
        "%" => (0.01, Unit::Share),
        "B" => (1.0, Unit::Bytes),
        "KB" => (1024.0, Unit::Bytes),
        "MB" => (1024.0 * 1024.0, Unit::Bytes),
        "GB" => (1024.0 * 1024.0 * 1024.0, Unit::Bytes),
        "TB" => (1024.0 * 1024.0 * 1024.0 * 1024.0, Unit::Bytes),
        // Nothing, a counter, or a unit that is nobody's standard.
        _ => (1.0, Unit::Number),
    };
    let value = number * times;
    value.is_finite().then_some((value, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckState as S;
    use proptest::prelude::*;

    fn values(found: &[CheckValue]) -> Vec<(&str, f64, Unit)> {
        found.iter().map(|v| (&*v.measure, v.value, v.unit)).collect()
    }

    #[test]
    fn plugins_are_understood_as_they_are() {
        let output = "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n\
             / 15272 MB (77%);\n/boot 68 MB (69%); | /boot=68MB;88;93;0;98\n\
             '/home dir'=69357MB;253404;253409;0;253414\n'it''s'=5%;;;; rta=0,5ms c=12c bad=U\n";
        let (state, text, found) = read(0, output);
        assert_eq!((state, &*text), (S::Ok, "DISK OK - free space: / 3326 MB (56%);"));
        let mib = 1024.0 * 1024.0;
        let expected = [
            ("/", 2643.0 * mib, Unit::Bytes),
            ("/boot", 68.0 * mib, Unit::Bytes),
            ("/home dir", 69_357.0 * mib, Unit::Bytes),
            ("it's", 0.05, Unit::Share),
            ("rta", 0.0005, Unit::Seconds),
            ("c", 12.0, Unit::Number),
        ];
        assert_eq!(values(&found), expected);
        for (code, state) in [(1, S::Warning), (2, S::Critical), (3, S::Unknown), (127, S::Unknown)]
        {
            assert_eq!(read(code, "x").0, state);
        }
        assert_eq!(read(2, "").1, "exit code 2, and no text");
        assert!(read(127, "sh: not found").1.contains("none of 0 to 3: sh"));
    }

    #[test]
    fn json_is_understood_and_the_worse_of_both_counts() {
        let table = [
            (0, r#"{"status":"ok","message":"m","values":{"q":3}}"#, S::Ok, "m"),
            (0, r#"{"status":2,"message":"m"}"#, S::Critical, "m"),
            (2, r#"{"status":"OK"}"#, S::Critical, ""),
            (1, r#"{"message":"m"}"#, S::Warning, "m"),
            (0, r#"{"status":"fine"}"#, S::Unknown, "`status` is none of"),
            (0, r#"{"status":"#, S::Unknown, "its JSON cannot be read"),
        ];
        for (code, output, state, text) in table {
            let (got, why, _) = read(code, output);
            assert!(got == state && why.starts_with(text), "{output}: {got} {why}");
        }
        let found = read(0, r#"{"values":{"q":3}}"#).2;
        assert_eq!(values(&found), [("q", 3.0, Unit::Number)]);
    }

    proptest! {
        #[test]
        fn no_output_panics_and_all_is_bounded(
            code in -1i32..300,
            output in r#"[a-z'|=;,.%0-9 {}"\n:µ]{0,200}"#,
        ) {
            let (_, _, found) = read(code, &output);
            prop_assert!(found.len() <= VALUES && found.iter().all(|v| v.value.is_finite()));
        }
    }
}
