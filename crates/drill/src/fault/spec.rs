//! Faults from text: `name`, `name:value` or `name:value,key=value`.

use crate::fault::{REGISTRY, SharedFault};
use std::time::Duration;

/// Why a text names no fault; it says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{text}`: {why}")]
pub struct BadFault {
    text: String,
    why: String,
}

impl BadFault {
    pub(crate) fn new(text: &str, why: String) -> Self {
        Self { text: text.to_owned(), why }
    }
}

/// Name and value.
pub(crate) fn split(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name.trim(), value.trim())
}

/// A fault from text such as `latency:50ms`; see [`REGISTRY`] for all.
///
/// # Errors
/// When there is no such fault or it cannot have that value.
pub fn parse(text: &str) -> Result<SharedFault, BadFault> {
    let bad = |why: String| BadFault::new(text, why);
    let (name, value) = split(text);
    let Some(entry) = REGISTRY.iter().find(|entry| entry.name == name) else {
        let known: Vec<&str> = REGISTRY.iter().map(|entry| entry.example).collect();
        return Err(bad(format!("unknown; there are {}", known.join(" "))));
    };
    (entry.make)(value).map_err(|why| bad(format!("{why} (as in `{}`)", entry.example)))
}

/// The first value and the named ones.
pub(crate) struct Values<'a> {
    pub(crate) first: &'a str,
    named: Vec<(&'a str, &'a str)>,
}

/// Takes a value apart.
///
/// # Errors
/// When a key is not one of `keys`.
pub(crate) fn values<'a>(text: &'a str, keys: &[&str]) -> Result<Values<'a>, String> {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default().trim();
    let mut named = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` has no `=`"))?;
        if !keys.contains(&key.trim()) {
            return Err(format!("unknown key `{}`", key.trim()));
        }
        named.push((key.trim(), value.trim()));
    }
    Ok(Values { first, named })
}

impl<'a> Values<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.named.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("`{text}` is no duration: {e}"))
}

/// A number of bytes; `k` and `m` are thousands and millions.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no number of bytes"))
}

/// `10%` or `0.1`, between 0 and 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|p| p / 100.0),
        None => text.parse(),
    };
    match value {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is no share (0% to 100%)")),
    }
}

/// For faults without values.
///
/// # Errors
/// When there is one.
pub(crate) fn nothing(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { Err(format!("takes no value, got `{text}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_read_and_shown_again() {
        for entry in REGISTRY {
            let fault = parse(entry.example).unwrap();
            assert_eq!(fault.to_string(), entry.example);
            assert!(parse(&fault.to_string()).is_ok());
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        let table = [
            ("", "unknown; there are"),
            ("lag:50ms", "latency:50ms"),
            ("latency", "no duration"),
            ("latency:50ms,wobble=1s", "unknown key `wobble`"),
            ("loss:110%", "no share"),
            ("cut:-1", "no number of bytes"),
            ("pass:1", "takes no value"),
            ("http:9", "no status"),
            ("bandwidth:0", "above 0"),
        ];
        for (text, why) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
