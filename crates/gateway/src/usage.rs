//! How many tokens an answer says it took.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Tokens of a request and its answer, as far as they were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: Option<u64>,
    pub(crate) completion: Option<u64>,
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
        look(raw.as_bytes()).unwrap_or_default()
    }

    /// The usage that an answer's JSON names at its top, read on the way to checking that it
    /// is one whole JSON value. `None` when it is none.
    pub(crate) fn of_json(bytes: &[u8]) -> Option<Self> {
        Told::of_json(bytes).map(|told| told.usage)
    }
}

/// What an answer's JSON tells at its top.
#[derive(Debug, Default)]
pub(crate) struct Told<'a> {
    pub(crate) usage: Usage,
    /// The model that gave it, as it stands there; empty where its name has escapes.
    pub(crate) model: &'a str,
}

impl<'a> Told<'a> {
    /// Reads it on the way to checking that it is one whole JSON value. `None` when it is none.
    pub(crate) fn of_json(bytes: &'a [u8]) -> Option<Self> {
        look(bytes)
    }
}

/// What is looked for in a JSON value of whatever kind. What is of another kind is passed
/// over, and only what is no JSON is an error.
trait Look<'de>: Default {
    fn number(_: u64) -> Self {
        Self::default()
    }

    /// A text without escapes.
    fn text(_: &'de str) -> Self {
        Self::default()
    }

    /// A field of an object, whose value must be taken from `map`.
    fn field<A: MapAccess<'de>>(&mut self, _: Key, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }
}

impl Look<'_> for Option<u64> {
    fn number(number: u64) -> Self {
        Some(number)
    }
}

impl<'de> Look<'de> for &'de str {
    fn text(text: &'de str) -> Self {
        text
    }
}

impl<'de> Look<'de> for Usage {
    fn field<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::PromptTokens => self.prompt = map.next_value_seed(Seed::new())?,
            Key::CompletionTokens => self.completion = map.next_value_seed(Seed::new())?,
            Key::InputTokens => self.prompt = self.prompt.or(map.next_value_seed(Seed::new())?),
            Key::OutputTokens => {
                self.completion = self.completion.or(map.next_value_seed(Seed::new())?);
            }
            _ => map.next_value::<IgnoredAny>().map(drop)?,
        }
        Ok(())
    }
}

impl<'de> Look<'de> for Told<'de> {
    fn field<A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Usage => self.usage = map.next_value_seed(Seed::new())?,
            Key::Model => self.model = map.next_value_seed(Seed::new())?,
            _ => map.next_value::<IgnoredAny>().map(drop)?,
        }
        Ok(())
    }
}

/// Looks at one whole JSON value; `None` when it is none.
fn look<'a, T: Look<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = Seed::new().deserialize(&mut json).ok()?;
    json.end().ok().map(|()| found)
}

struct Seed<T>(PhantomData<T>);

impl<T> Seed<T> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Look<'de>> DeserializeSeed<'de> for Seed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Look<'de>> Visitor<'de> for Seed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut found = T::default();
        while let Some(key) = map.next_key()? {
            found.field(key, &mut map)?;
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::number(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<T, E> {
        Ok(T::text(text))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// What a key is; no key is copied.
enum Key {
    Usage,
    Model,
    PromptTokens,
    CompletionTokens,
    InputTokens,
    OutputTokens,
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
                    "prompt_tokens" => Key::PromptTokens,
                    "completion_tokens" => Key::CompletionTokens,
                    "input_tokens" => Key::InputTokens,
                    "output_tokens" => Key::OutputTokens,
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
