//! Amounts as people write them: `"90%"`, `"5GiB"`, `"20ms"`, `"100Mbit/s"`, `"85C"`, `4`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a value is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A count, or a ratio.
    Number,
    /// A part of a whole, 0 to 1.
    Share,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Degrees Celsius.
    Celsius,
}

/// Suffixes with what they multiply by, the longest first where one ends with another.
const SUFFIXES: [(&str, Unit, f64); 28] = [
    ("Gbit/s", Unit::BytesPerSecond, 1e9 / 8.0),
    ("Mbit/s", Unit::BytesPerSecond, 1e6 / 8.0),
    ("kbit/s", Unit::BytesPerSecond, 1e3 / 8.0),
    ("GB/s", Unit::BytesPerSecond, 1e9),
    ("MB/s", Unit::BytesPerSecond, 1e6),
    ("kB/s", Unit::BytesPerSecond, 1e3),
    ("B/s", Unit::BytesPerSecond, 1.0),
    ("TiB", Unit::Bytes, 1_099_511_627_776.0),
    ("GiB", Unit::Bytes, 1_073_741_824.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("KiB", Unit::Bytes, 1024.0),
    ("TB", Unit::Bytes, 1e12),
    ("GB", Unit::Bytes, 1e9),
    ("MB", Unit::Bytes, 1e6),
    ("kB", Unit::Bytes, 1e3),
    ("KB", Unit::Bytes, 1e3),
    ("B", Unit::Bytes, 1.0),
    ("%", Unit::Share, 0.01),
    ("°C", Unit::Celsius, 1.0),
    ("C", Unit::Celsius, 1.0),
    ("ms", Unit::Seconds, 1e-3),
    ("us", Unit::Seconds, 1e-6),
    ("µs", Unit::Seconds, 1e-6),
    ("min", Unit::Seconds, 60.0),
    ("s", Unit::Seconds, 1.0),
    ("m", Unit::Seconds, 60.0),
    ("h", Unit::Seconds, 3600.0),
    ("d", Unit::Seconds, 86_400.0),
];

impl Unit {
    /// Reads a number with a unit, or without one. Only finite numbers from 0 on.
    #[must_use]
    pub fn parse(text: &str) -> Option<(f64, Self)> {
        let text = text.trim();
        let found = SUFFIXES.iter().find_map(|(suffix, unit, times)| {
            Some((text.strip_suffix(suffix)?.trim_end(), *unit, *times))
        });
        let (number, unit, times) = found.unwrap_or((text, Self::Number, 1.0));
        // `inf` and `nan` are numbers for the parser.
        let plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let value = number.parse::<f64>().ok().filter(|_| plain)? * times;
        value.is_finite().then_some((value, unit))
    }

    /// A value for people.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Number => short(value),
            Self::Share => format!("{}%", short(value * 100.0)),
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Seconds if value < 0.001 => format!("{}us", short(value * 1e6)),
            Self::Seconds if value < 1.0 => format!("{}ms", short(value * 1e3)),
            Self::Seconds => format!("{}s", short(value)),
            Self::Celsius => format!("{}°C", short(value)),
        }
    }

    /// How one is written, for messages.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Number => "4",
            Self::Share => "\"90%\"",
            Self::Bytes => "\"5GiB\"",
            Self::BytesPerSecond => "\"100MB/s\"",
            Self::Seconds => "\"20ms\"",
            Self::Celsius => "\"85C\"",
        }
    }
}

fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 10.0 {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0}")
    }
}

fn bytes(value: f64) -> String {
    let (mut value, mut unit) = (value, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{}{unit}", short(value))
}

/// An amount in the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// Without a unit.
    Number(f64),
    /// With one.
    Text(String),
}

impl Amount {
    /// Its value in the unit's base; `None` when it is no amount.
    #[must_use]
    pub fn read(&self) -> Option<(f64, Unit)> {
        match self {
            Self::Number(n) => (n.is_finite() && *n >= 0.0).then_some((*n, Unit::Number)),
            Self::Text(text) => Unit::parse(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_and_shown() {
        let table = [
            ("90%", 0.9, Unit::Share, "90%"),
            ("5GiB", 5_368_709_120.0, Unit::Bytes, "5GiB"),
            ("5 GB", 5e9, Unit::Bytes, "4.66GiB"),
            ("20ms", 0.02, Unit::Seconds, "20ms"),
            ("1.5s", 1.5, Unit::Seconds, "1.5s"),
            ("2m", 120.0, Unit::Seconds, "120s"),
            ("80Mbit/s", 1e7, Unit::BytesPerSecond, "9.54MiB/s"),
            ("85C", 85.0, Unit::Celsius, "85°C"),
            ("85°C", 85.0, Unit::Celsius, "85°C"),
            ("4", 4.0, Unit::Number, "4"),
        ];
        for (text, value, unit, shown) in table {
            let (got, of) = Unit::parse(text).unwrap();
            assert!((got - value).abs() < 1e-9 * value.max(1.0) && of == unit, "{text}: {got}");
            assert_eq!(of.show(got), shown);
        }
        for wrong in ["", "%", "many", "-1", "inf", "nan", "1e999", "5 boxes", "GiB"] {
            assert_eq!(Unit::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_finite(text in "[0-9a-zA-Z%°/. eE+-]{0,12}") {
            if let Some((value, unit)) = Unit::parse(&text) {
                prop_assert!(value.is_finite() && value >= 0.0);
                prop_assert!(!unit.show(value).is_empty());
            }
        }
    }
}
