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
        Told::of_json(bytes).map(|told| told.usage)
    }
}

/// What an answer's JSON tells at its top.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) usage: Usage,
    /// The model that gave it, as it stands there; empty where its name has escapes.
    pub(crate) model: &'a str,
}

impl<'a> Told<'a> {
    /// Reads it on the way to checking that it is one whole JSON value. `None` when it is none.
    pub(crate) fn of_json(bytes: &'a [u8]) -> Option<Self> {
        let Top(found) = serde_json::from_slice(bytes).ok()?;
        let name = found.model.map(RawValue::get).unwrap_or_default();
        let plain = name.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
        Some(Self {
            usage: found.usage.map_or_else(Usage::default, |raw| Usage::read(raw.get())),
            model: plain.filter(|name| !name.contains('\\')).unwrap_or_default(),
        })
    }
}

/// Fields of the JSON value, where it is an object.
#[derive(Default)]
struct Found<'a> {
    usage: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
}

/// Any JSON value, and some of its fields.
struct Top<'a>(Found<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any).map(Top)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Usage => found.usage = Some(map.next_value()?),
                Key::Model => found.model = Some(map.next_value()?),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Found::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Found::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Found::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Found::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Found::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Found::default())
    }
}

/// What a key is; no key is copied.
enum Key {
    Usage,
    Model,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                Ok(match name {
                    "usage" => Key::Usage,
                    "model" => Key::Model,
                    _ => Key::Other,
                })
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
    fn the_model_is_found_at_the_top_only() {
        let of = |text: &'static str| Told::of_json(text.as_bytes()).unwrap().model;
        assert_eq!(of(r#"{"model":"a/b","usage":{"model":"c"}}"#), "a/b");
        for none in [r#"{"x":{"model":"c"}}"#, r#"{"model":3}"#, r#"{"model":"a\"b"}"#, "[]"] {
            assert_eq!(of(none), "", "{none}");
        }
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
