//! Thresholds: what a value may be. Pure.

use super::{Measure, Worse};
use evenkeel_domain::check::{Amount, CheckSettings, CheckState, CheckValue, Levels, Unit};
use std::collections::BTreeMap;

/// A key below a check, and what is wrong with it.
pub type Wrong = (String, String);

/// Values that are named when nothing is wrong with them.
const NAMED: usize = 4;

/// The thresholds of one measure.
#[derive(Debug, Clone, PartialEq)]
struct Limit {
    measure: String,
    worse: Worse,
    warning: Option<f64>,
    critical: Option<f64>,
}

/// All thresholds of a check.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Limits(Vec<Limit>);

impl Limits {
    /// Reads the settings. Without `known` measures any name is one (scripts).
    ///
    /// # Errors
    /// With all contradictions.
    pub(super) fn compile(settings: &CheckSettings, known: &[Measure]) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut all: BTreeMap<String, Limit> = BTreeMap::new();
        for (key, levels) in [("warning", &settings.warning), ("critical", &settings.critical)] {
            let Some(levels) = levels else { continue };
            for (name, amount) in each(levels) {
                match place(name, amount, known) {
                    Ok((measure, worse, level)) => {
                        let limit = all.entry(measure.clone()).or_insert_with(|| Limit {
                            measure,
                            worse,
                            warning: None,
                            critical: None,
                        });
                        match key {
                            "warning" => limit.warning = Some(level),
                            _ => limit.critical = Some(level),
                        }
                    }
                    Err(text) => wrong.push((key.to_owned(), text)),
                }
            }
        }
        for limit in all.values() {
            if let (Some(warning), Some(critical)) = (limit.warning, limit.critical)
                && limit.worse.is_over(warning, critical)
                && warning != critical
            {
                let text = format!("of `{}`: is never reached before `critical`", limit.measure);
                wrong.push(("warning".into(), text));
            }
        }
        if wrong.is_empty() { Ok(Self(all.into_values().collect())) } else { Err(wrong) }
    }

    /// The last threshold of each measure.
    pub(super) fn ends(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(|limit| Some((&*limit.measure, limit.critical.or(limit.warning)?)))
    }

    /// What the values say, and in words.
    pub(super) fn judge(&self, values: &[CheckValue]) -> (CheckState, String) {
        let mut state = CheckState::Ok;
        let mut bad = Vec::new();
        for limit in &self.0 {
            let Some(seen) = values.iter().find(|v| v.measure == limit.measure) else {
                state = state.worse(CheckState::Unknown);
                bad.push(format!("`{}` is not measured here", limit.measure));
                continue;
            };
            let over = |level: Option<f64>| level.filter(|l| limit.worse.is_over(seen.value, *l));
            let (found, level) = match (over(limit.critical), over(limit.warning)) {
                (Some(level), _) => (CheckState::Critical, level),
                (None, Some(level)) => (CheckState::Warning, level),
                (None, None) => continue,
            };
            state = state.worse(found);
            let side = match limit.worse {
                Worse::Above => "from",
                Worse::Below => "up to",
            };
            bad.push(format!("{} ({found} {side} {})", show(seen), seen.unit.show(level)));
        }
        let text = match bad.is_empty() {
            true => values.iter().take(NAMED).map(show).collect::<Vec<_>>().join(", "),
            false => bad.join(", "),
        };
        (state, text)
    }
}

impl Worse {
    fn is_over(self, value: f64, level: f64) -> bool {
        match self {
            Self::Above => value >= level,
            Self::Below => value <= level,
        }
    }
}

fn show(value: &CheckValue) -> String {
    format!("{} {}", value.measure.replace('_', " "), value.unit.show(value.value))
}

fn each(levels: &Levels) -> Vec<(Option<&str>, &Amount)> {
    match levels {
        Levels::One(amount) => vec![(None, amount)],
        Levels::Each(all) => all.iter().map(|(name, amount)| (Some(&**name), amount)).collect(),
    }
}

/// The measure that a threshold is of.
fn place(
    name: Option<&str>,
    amount: &Amount,
    known: &[Measure],
) -> Result<(String, Worse, f64), String> {
    let (level, unit) = amount.read().ok_or_else(|| {
        format!("{amount:?} is no amount; write one such as \"90%\", \"5GiB\", \"20ms\" or 4")
    })?;
    if unit == Unit::Share && level > 1.0 {
        return Err("more than 100% is never reached".into());
    }
    if known.is_empty() {
        let name = name.ok_or("name what is measured: `{ label = 5 }`")?;
        return Ok((name.to_owned(), Worse::Above, level));
    }
    let names = || known.iter().map(|m| format!("`{}`", m.name)).collect::<Vec<_>>().join(", ");
    // A bare number of degrees or seconds would be a guess; of a count it is the usual way.
    let found = match name {
        None => known.iter().find(|m| m.unit == unit).ok_or_else(|| {
            let first = known.first().map_or("4", |m| m.unit.example());
            format!("nothing is measured here in such a unit; write one such as {first}")
        })?,
        Some(name) => known
            .iter()
            .find(|m| m.name == name)
            .ok_or_else(|| format!("`{name}` is not measured here; use one of {}", names()))?,
    };
    if found.unit != unit {
        return Err(format!(
            "`{}` is no such amount; write one such as {}",
            found.name,
            found.unit.example()
        ));
    }
    Ok((found.name.to_owned(), found.worse, level))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{above, below, value};
    use super::*;
    use proptest::prelude::*;

    const KNOWN: &[Measure] = &[above("used", Unit::Share), below("free", Unit::Bytes)];

    pub(in super::super) fn settings(text: &str) -> CheckSettings {
        let mut table: serde_json::Value = serde_json::from_str(text).unwrap();
        let all = table.as_object_mut().unwrap();
        all.entry("name").or_insert("c".into());
        all.entry("kind").or_insert("disk".into());
        serde_json::from_value(table).unwrap()
    }

    #[test]
    fn values_are_compared_on_their_bad_side() {
        let limits = settings(r#"{"warning":"80%","critical":{"used":"90%","free":"1GiB"}}"#);
        let limits = Limits::compile(&limits, KNOWN).unwrap();
        let gib = 1024.0 * 1024.0 * 1024.0;
        let table = [
            (0.5, 5.0, CheckState::Ok, "used 50%, free 5GiB"),
            (0.8, 5.0, CheckState::Warning, "used 80% (warning from 80%)"),
            (0.95, 5.0, CheckState::Critical, "used 95% (critical from 90%)"),
            (0.85, 1.0, CheckState::Critical, "free 1GiB (critical up to 1GiB), used 85%"),
        ];
        for (used, free, state, text) in table {
            let values = [value("used", used, Unit::Share), value("free", free * gib, Unit::Bytes)];
            let (got, why) = limits.judge(&values);
            assert!(got == state && why.starts_with(text), "{got} {why}");
        }
        let (state, why) = limits.judge(&[value("used", 0.1, Unit::Share)]);
        assert!(state == CheckState::Unknown && why == "`free` is not measured here", "{why}");
    }

    #[test]
    fn contradictions_are_told() {
        for (text, key, says) in [
            (r#"{"warning":"95%","critical":"90%"}"#, "warning", "never reached before"),
            (r#"{"warning":{"free":"1GB"},"critical":{"free":"2GB"}}"#, "warning", "never"),
            (r#"{"critical":"130%"}"#, "critical", "more than 100%"),
            (r#"{"critical":"many"}"#, "critical", "is no amount"),
            (r#"{"critical":"20ms"}"#, "critical", "such a unit"),
            (r#"{"critical":{"used":4}}"#, "critical", "write one such as \"90%\""),
            (r#"{"critical":{"usd":"4%"}}"#, "critical", "use one of `used`, `free`"),
        ] {
            let wrong = Limits::compile(&settings(text), KNOWN).unwrap_err();
            assert!(wrong[0].0 == key && wrong[0].1.contains(says), "{text}: {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn worse_values_never_give_better_states(a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let limits = settings(r#"{"warning":"30%","critical":"60%"}"#);
            let limits = Limits::compile(&limits, KNOWN).unwrap();
            let state = |v| limits.judge(&[value("used", v, Unit::Share)]).0;
            prop_assert!(state(a.max(b)).rank() >= state(a.min(b)).rank());
        }
    }
}
