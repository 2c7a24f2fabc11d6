//! How many tokens an answer says it took.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Tokens of a request and its answer, as far as they were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: Option<u64>,
    pub(crate) completion: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
}

impl Usage {
    /// What was told before, with what is told now.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            prompt: later.prompt.or(self.prompt),
            completion: later.completion.or(self.completion),
        }
    }

    /// Reads a `usage` object, under OpenAI's names or Anthropic's. What is no number is as
    /// good as missing.
    pub(crate) fn read(raw: &str) -> Self {
        let fields: Fields<'_> = serde_json::from_str(raw).unwrap_or_default();
        let number = |raw: Option<&RawValue>| raw.and_then(|r| r.get().parse().ok());
        Self {
            prompt: number(fields.prompt_tokens.or(fields.input_tokens)),
            completion: number(fields.completion_tokens.or(fields.output_tokens)),
        }
    }

    /// The usage that an answer's JSON names at its top, read on the way to checking that it
    /// is one whole JSON value. `None` when it is none.
    pub(crate) fn of_json(bytes: &[u8]) -> Option<Self> {
        let found: Top<'_> = serde_json::from_slice(bytes).ok()?;
        Some(found.0.map_or_else(Self::default, |raw| Self::read(raw.get())))
    }
}

/// Any JSON value, and its field `usage` where it is an object.
struct Top<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any).map(Top)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut usage = None;
        while let Some(IsUsage(is)) = map.next_key()? {
            if is {
                usage = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(usage)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is `usage`; no key is copied.
struct IsUsage(bool);

impl<'de> Deserialize<'de> for IsUsage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = IsUsage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<IsUsage, E> {
                Ok(IsUsage(name == "usage"))
            }
        }
        from.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usage_is_found_under_both_names() {
        let of = |text: &str| Usage::of_json(text.as_bytes()).unwrap();
        let both = Usage { prompt: Some(3), completion: Some(5) };
        let openai = r#"{"id":"a","usage":{"prompt_tokens":3,"completion_tokens":5,"x":{}}}"#;
        assert_eq!(of(openai), both);
        assert_eq!(of(r#"{"usage":{"input_tokens":3,"output_tokens":5},"b":[1]}"#), both);
        for none in ["{}", "[1,{\"usage\":{}}]", "3", "null", "\"usage\"", "true", "-1.5e3"] {
            assert_eq!(of(none), Usage::default(), "{none}");
        }
        assert_eq!(of(r#"{"usage":null}"#), Usage::default());
        let odd = Usage { prompt: None, completion: Some(5) };
        assert_eq!(of(r#"{"usage":{"prompt_tokens":"3","completion_tokens":5}}"#), odd);
        assert_eq!(of(r#"{"usage":1,"usage":{"output_tokens":5}}"#), odd);
    }

    #[test]
    fn cut_json_is_no_json() {
        let whole = br#"{"choices":[{"text":"a"}],"usage":{"prompt_tokens":1}}"#;
        assert!(Usage::of_json(whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(Usage::of_json(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Usage::of_json(b"{} {}"), None);
    }

    proptest! {
        #[test]
        fn the_check_is_what_it_would_be_without_looking(text in r#"[\[\]{}",:0-9a-z\\ .-]{0,40}"#) {
            let plain = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(Usage::of_json(text.as_bytes()).is_some(), plain, "{}", text);
        }
    }
}
