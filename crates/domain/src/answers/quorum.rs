//! Answers that several replicas must agree on, and questions whose answers are known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A request goes to several replicas of one revision at once; what enough of them answer
/// goes to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// Replicas that are asked.
    pub of: u32,
    /// Replicas that must agree: more than half of them.
    pub agree: u32,
    /// What counts as the same answer.
    #[serde(default)]
    pub compare: Compare,
    /// Fields that differ by nature and do not count, at any depth (for `json` and
    /// `numeric`).
    #[serde(default = "by_nature")]
    pub ignore: Vec<String>,
    /// Deviations within `window` after which a replica is isolated as lying.
    #[serde(default = "isolate_after")]
    pub isolate_after: u32,
    /// The window.
    #[serde(default = "window", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// How long answers that came too late for the vote are waited for, to know who
    /// deviates.
    #[serde(default = "late", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub late: Duration,
}

/// What counts as the same answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The same bytes.
    Exact,
    /// The same JSON, whatever the order of its keys.
    #[default]
    Json,
    /// The same JSON, with numbers that differ by at most this, relative to the larger one
    /// where that is above 1.
    Numeric(f64),
}

/// What servers put into answers that is another each time, or tells of the server and not
/// of the answer.
fn by_nature() -> Vec<String> {
    [
        "id",
        "created",
        "created_at",
        "completed_at",
        "request_id",
        "system_fingerprint",
        "service_tier",
        "timings",
        "usage",
        "metrics",
        "kv_transfer_params",
        "prompt_logprobs",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn isolate_after() -> u32 {
    3
}

fn window() -> Duration {
    Duration::from_secs(600)
}

fn late() -> Duration {
    Duration::from_secs(10)
}

impl Quorum {
    /// `agree` of `of`, with defaults for the rest.
    #[must_use]
    pub fn new(of: u32, agree: u32) -> Self {
        Self {
            of,
            agree,
            compare: Compare::default(),
            ignore: by_nature(),
            isolate_after: isolate_after(),
            window: window(),
            late: late(),
        }
    }
}

/// A question whose answer is known, asked of each replica again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Where it is asked.
    #[serde(default = "golden_path")]
    pub path: String,
    /// A prompt, sent at temperature 0 to the service's first model; or …
    #[serde(default)]
    pub prompt: Option<String>,
    /// … the whole request as JSON, sent as it is.
    #[serde(default)]
    pub body: Option<String>,
    /// Tokens asked for, with `prompt`.
    #[serde(default = "golden_tokens")]
    pub max_tokens: u32,
    /// Where in the answer to look, as a JSON pointer (RFC 6901); by default at the first
    /// choice's text.
    #[serde(default)]
    pub pointer: Option<String>,
    /// What must be there: a text must be the same (white space around it aside), a number
    /// within `tolerance`.
    pub expect: GoldenValue,
    /// How far a number may be off, relative to the larger one where that is above 1.
    #[serde(default)]
    pub tolerance: f64,
    /// Time between two questions; a sixth of it while the last answer was wrong.
    #[serde(default = "golden_interval", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// Nobody serves who has not answered it rightly since it was started, and whoever answers
    /// it wrongly twice does not, even where nothing else is left: no answer is better than a
    /// wrong one.
    #[serde(default)]
    pub required: bool,
    /// How long an answer may take. One that does not come says nothing.
    #[serde(default = "golden_timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

/// A value that is expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GoldenValue {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Several numbers, such as an embedding's.
    Numbers(Vec<f64>),
}

fn golden_path() -> String {
    "/v1/completions".into()
}

fn golden_tokens() -> u32 {
    8
}

fn golden_interval() -> Duration {
    Duration::from_secs(30)
}

fn golden_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Whether two numbers are the same within a tolerance, relative to the larger one where
/// that is above 1.
#[must_use]
pub fn near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearness_is_relative_above_one() {
        assert!(near(0.0, 1e-7, 1e-6) && near(1e6, 1e6 + 0.5, 1e-6));
        assert!(!near(0.0, 1e-5, 1e-6) && !near(1e6, 1e6 + 2.0, 1e-6));
        assert!(!near(f64::NAN, 0.0, 1.0) && near(2.0, 2.0, 0.0));
    }
}
