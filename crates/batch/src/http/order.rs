//! Reading an order for a batch: pure.

use super::upload::EXPIRES_AFTER;
use crate::error::ApiError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Pairs of metadata, characters of a key and of a value: OpenAI's bounds.
const PAIRS: usize = 16;
const KEY: usize = 64;
const VALUE: usize = 512;
/// The only window that clients may name.
const WINDOW: &str = "24h";
/// Bytes of an endpoint.
const ENDPOINT: usize = 512;

/// An order, as far as it can be judged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) input: String,
    pub(crate) endpoint: String,
    pub(crate) completion_window: String,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    /// Milliseconds.
    pub(crate) output_expires_after: Option<u64>,
}

impl Order {
    /// Reads a request's body. `accepts` says whether a path leads anywhere.
    pub(crate) fn read(body: &[u8], accepts: impl Fn(&str) -> bool) -> Result<Self, ApiError> {
        let Ok(Value::Object(mut given)) = serde_json::from_slice(body) else {
            let message = "The request's body is not a JSON object.";
            return Err(ApiError::invalid("invalid_json", message));
        };
        let input = text(&mut given, "input_file_id")?;
        let endpoint = text(&mut given, "endpoint")?;
        if endpoint.len() > ENDPOINT || !endpoint.starts_with('/') || !accepts(&endpoint) {
            let supported = "No service is configured for this path.";
            return Err(ApiError::wrong_value("endpoint", &endpoint, supported));
        }
        let completion_window = text(&mut given, "completion_window")?;
        if completion_window != WINDOW {
            let supported = "Supported values are: '24h'.";
            return Err(ApiError::wrong_value("completion_window", &completion_window, supported));
        }
        let metadata = metadata(given.remove("metadata"))?;
        let output_expires_after = expires_after(given.remove("output_expires_after"))?;
        if let Some(unknown) = given.keys().next() {
            return Err(ApiError::unknown(&unknown.chars().take(100).collect::<String>()));
        }
        Ok(Self { input, endpoint, completion_window, metadata, output_expires_after })
    }
}

fn text(given: &mut Map<String, Value>, param: &str) -> Result<String, ApiError> {
    match given.remove(param) {
        None | Some(Value::Null) => Err(ApiError::missing(param)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ApiError::wrong_type(param, "a string")),
    }
}

fn metadata(given: Option<Value>) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    let pairs = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err(ApiError::wrong_type("metadata", "an object")),
    };
    let limits = |message: String| ApiError::invalid("invalid_value", message).about("metadata");
    if pairs.len() > PAIRS {
        return Err(limits(format!("'metadata' may have {PAIRS} pairs at most.")));
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in pairs {
        let Value::String(value) = value else {
            return Err(ApiError::wrong_type("metadata", "values that are strings"));
        };
        if key.chars().count() > KEY || value.chars().count() > VALUE {
            let message =
                format!("'metadata' may have keys of {KEY} and values of {VALUE} characters.");
            return Err(limits(message));
        }
        metadata.insert(key, value);
    }
    Ok(Some(metadata))
}

fn expires_after(given: Option<Value>) -> Result<Option<u64>, ApiError> {
    const ANCHOR: &str = "output_expires_after.anchor";
    const SECONDS: &str = "output_expires_after.seconds";
    let mut given = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(ApiError::wrong_type("output_expires_after", "an object")),
    };
    match given.remove("anchor") {
        Some(Value::String(anchor)) if anchor == "created_at" => {}
        None => return Err(ApiError::missing(ANCHOR)),
        Some(other) => {
            let supported = "Supported values are: 'created_at'.";
            return Err(ApiError::wrong_value(ANCHOR, &other.to_string(), supported));
        }
    }
    let seconds = given.remove("seconds").ok_or_else(|| ApiError::missing(SECONDS))?;
    match seconds.as_u64().filter(|seconds| EXPIRES_AFTER.contains(seconds)) {
        Some(seconds) => Ok(Some(seconds * 1000)),
        None => {
            let supported = "Expected seconds from 3600 to 2592000.";
            Err(ApiError::wrong_value(SECONDS, &seconds.to_string(), supported))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({ "input_file_id": "file-1", "endpoint": "/v1/echo", "completion_window": "24h" })
    }

    fn read(order: &Value) -> Result<Order, ApiError> {
        Order::read(order.to_string().as_bytes(), |path| path == "/v1/echo")
    }

    #[test]
    fn an_order_is_read() {
        let mut order = good();
        order["metadata"] = json!({ "k": "v" });
        order["output_expires_after"] = json!({ "anchor": "created_at", "seconds": 3600 });
        let read = read(&order).unwrap();
        assert_eq!((read.input.as_str(), read.endpoint.as_str()), ("file-1", "/v1/echo"));
        assert_eq!(read.metadata, Some([("k".to_owned(), "v".to_owned())].into()));
        assert_eq!(read.output_expires_after, Some(3_600_000));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let long = "x".repeat(KEY + 1);
        let many: Map<_, _> = (0..17).map(|n| (n.to_string(), json!("v"))).collect();
        for (key, value, code) in [
            ("input_file_id", Value::Null, "missing_required_parameter"),
            ("input_file_id", json!(7), "invalid_type"),
            ("endpoint", json!("/v1/other"), "invalid_value"),
            ("endpoint", json!([]), "invalid_type"),
            ("completion_window", json!("1h"), "invalid_value"),
            ("metadata", json!("text"), "invalid_type"),
            ("metadata", json!({ "k": 1 }), "invalid_type"),
            ("metadata", json!({ long: "v" }), "invalid_value"),
            ("metadata", json!({ "k": "x".repeat(VALUE + 1) }), "invalid_value"),
            ("metadata", Value::Object(many), "invalid_value"),
            ("output_expires_after", json!(1), "invalid_type"),
            ("output_expires_after", json!({}), "missing_required_parameter"),
            ("output_expires_after", json!({ "anchor": "x", "seconds": 3600 }), "invalid_value"),
            (
                "output_expires_after",
                json!({ "anchor": "created_at", "seconds": 1 }),
                "invalid_value",
            ),
            ("priority", json!("high"), "unknown_parameter"),
        ] {
            let mut order = good();
            order[key] = value.clone();
            let error = format!("{:?}", read(&order).unwrap_err());
            assert!(error.contains(code) && error.contains(key), "{key} {value}: {error}");
        }
        for body in ["", "[]", "nonsense", "{"] {
            assert!(Order::read(body.as_bytes(), |_| true).is_err(), "{body}");
        }
    }
}
