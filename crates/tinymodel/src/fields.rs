//! Reading a request's fields: every wrong type is an error that names the field.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::ApiError;

type Read<T> = Result<T, ApiError>;

/// The fields of a request's body. `null` is the same as absent.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Read<Self> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::bad_json("it is another kind of value")),
            Err(error) => Err(ApiError::bad_json(error)),
        }
    }

    /// The field, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The field, which must be there.
    pub(crate) fn need(&self, name: &str) -> Read<&Value> {
        self.get(name).ok_or_else(|| ApiError::param(name, "is missing"))
    }

    fn read<'a, T>(
        &'a self,
        name: &str,
        wanted: impl std::fmt::Display,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Read<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| ApiError::param(name, format!("must be {wanted}")))
    }

    /// A truth value; `default` if absent.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Read<bool> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Read<Option<&str>> {
        self.read(name, "a string", Value::as_str)
    }

    /// A number in a range.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Read<Option<f64>> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, wanted, |value| value.as_f64().filter(|number| range.contains(number)))
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Read<Option<i64>> {
        let wanted = if *range.end() == i64::MAX {
            format!("a whole number, {} or more", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.read(name, wanted, |value| value.as_i64().filter(|number| range.contains(number)))
    }

    /// A count of at least `least`.
    pub(crate) fn count(&self, name: &str, least: i64) -> Read<Option<usize>> {
        let found = self.integer(name, least..=i64::MAX)?;
        Ok(found.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    }

    /// A string or a list of strings, none of them empty.
    pub(crate) fn strings(&self, name: &str, most: usize) -> Read<Vec<String>> {
        let found = self.read(name, "a string or a list of strings", |value| match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(many) => many.iter().map(|one| Some(one.as_str()?.to_owned())).collect(),
            _ => None,
        })?;
        let found = found.unwrap_or_default();
        if found.len() > most {
            return Err(ApiError::param(name, format!("may hold {most} strings at most")));
        }
        if found.iter().any(String::is_empty) {
            return Err(ApiError::param(name, "may not hold an empty string"));
        }
        Ok(found)
    }

    /// Refuses the request if the field is there and is not one of the harmless values.
    pub(crate) fn refuse_unless(&self, name: &str, harmless: impl Fn(&Value) -> bool) -> Read<()> {
        match self.get(name) {
            Some(value) if !harmless(value) => Err(ApiError::unsupported(name)),
            _ => Ok(()),
        }
    }
}
