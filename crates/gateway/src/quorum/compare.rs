//! When two answers are the same. Pure.

use bytes::Bytes;
use evenkeel_domain::answers::{Compare, near};
use serde_json::Value;

/// One answer as it is compared.
pub(super) struct Seen {
    status: u16,
    bytes: Bytes,
    /// Its JSON without what differs by nature; `None` when bytes are compared.
    value: Option<Value>,
}

impl Seen {
    /// `ignore`: names of fields that do not count, at any depth.
    pub(super) fn new(status: u16, bytes: Bytes, compare: Compare, ignore: &[String]) -> Self {
        let value = match compare {
            Compare::Exact => None,
            Compare::Json | Compare::Numeric(_) => serde_json::from_slice(&bytes).ok(),
        };
        let value = value.map(|mut value| {
            strip(&mut value, ignore);
            value
        });
        Self { status, bytes, value }
    }

    pub(super) fn same(&self, other: &Self, compare: Compare) -> bool {
        if self.status != other.status {
            return false;
        }
        match (&self.value, &other.value) {
            (Some(a), Some(b)) => match compare {
                // Objects compare by key, whatever their order.
                Compare::Exact | Compare::Json => a == b,
                Compare::Numeric(tolerance) => alike(a, b, tolerance),
            },
            _ => self.bytes == other.bytes,
        }
    }

    /// For people: where two answers differ first.
    pub(super) fn difference(&self, other: &Self, compare: Compare) -> String {
        if self.status != other.status {
            return format!("status {} instead of {}", other.status, self.status);
        }
        match (&self.value, &other.value) {
            (Some(a), Some(b)) => first_difference(a, b, tolerance(compare), String::new())
                .unwrap_or_else(|| "nothing".into()),
            _ => "other bytes".into(),
        }
    }
}

fn tolerance(compare: Compare) -> f64 {
    match compare {
        Compare::Numeric(tolerance) => tolerance,
        Compare::Exact | Compare::Json => 0.0,
    }
}

fn strip(value: &mut Value, ignore: &[String]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !ignore.contains(name));
            fields.values_mut().for_each(|v| strip(v, ignore));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| strip(v, ignore)),
        _ => {}
    }
}

fn alike(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_f64(), y.as_f64()) {
            (Some(x), Some(y)) => near(x, y, tolerance),
            _ => x == y,
        },
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| alike(a, b, tolerance))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter().all(|(name, a)| y.get(name).is_some_and(|b| alike(a, b, tolerance)))
        }
        _ => a == b,
    }
}

/// Characters of a value that are shown.
const SHOWN: usize = 80;

fn first_difference(a: &Value, b: &Value, tolerance: f64, at: String) -> Option<String> {
    if alike(a, b, tolerance) {
        return None;
    }
    let inner = match (a, b) {
        (Value::Object(x), Value::Object(y)) => x.iter().find_map(|(name, a)| {
            first_difference(a, y.get(name)?, tolerance, format!("{at}/{name}"))
        }),
        (Value::Array(x), Value::Array(y)) => (0..)
            .zip(x.iter().zip(y))
            .find_map(|(n, (a, b))| first_difference(a, b, tolerance, format!("{at}/{n}"))),
        _ => None,
    };
    Some(inner.unwrap_or_else(|| {
        let short = |v: &Value| v.to_string().chars().take(SHOWN).collect::<String>();
        format!("{at}: {} instead of {}", short(b), short(a))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &'static str, b: &'static str, compare: Compare) -> bool {
        let seen = |t: &'static str| {
            Seen::new(200, t.as_bytes().into(), compare, &["id".into(), "usage".into()])
        };
        seen(a).same(&seen(b), compare)
    }

    #[test]
    fn what_counts_is_told_apart_from_what_does_not() {
        let table = [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, Compare::Json, true),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, Compare::Exact, false),
            (r#"{"id":"x","c":[{"id":1}]}"#, r#"{"id":"y","c":[{"id":2}]}"#, Compare::Json, true),
            (r#"{"usage":{"t":1}}"#, r#"{}"#, Compare::Json, true),
            (r#"{"t":"four"}"#, r#"{"t":"five"}"#, Compare::Json, false),
            (r#"{"t":[1]}"#, r#"{"t":[1,1]}"#, Compare::Numeric(1.0), false),
            (r#"[0.1]"#, r#"[0.1000000001]"#, Compare::Json, false),
            (r#"[0.1]"#, r#"[0.1000000001]"#, Compare::Numeric(1e-6), true),
            (r#"[0.1]"#, r#"[0.2]"#, Compare::Numeric(1e-6), false),
            ("no json", "no json", Compare::Json, true),
            ("no json", "no jsom", Compare::Json, false),
        ];
        for (a, b, compare, expected) in table {
            assert_eq!(same(a, b, compare), expected, "{a} {b} {compare:?}");
        }
    }

    #[test]
    fn a_status_is_part_of_an_answer_and_differences_are_told() {
        let json = Compare::Json;
        let a = Seen::new(200, Bytes::from_static(br#"{"c":[{"t":"four"}]}"#), json, &[]);
        let b = Seen::new(200, Bytes::from_static(br#"{"c":[{"t":"five"}]}"#), json, &[]);
        let c = Seen::new(400, Bytes::from_static(br#"{"c":[{"t":"four"}]}"#), json, &[]);
        assert!(!a.same(&c, json));
        assert_eq!(a.difference(&b, json), r#"/c/0/t: "five" instead of "four""#);
        assert_eq!(a.difference(&c, json), "status 400 instead of 200");
    }
}
