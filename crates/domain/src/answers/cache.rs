//! Answers that are kept and given again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Deterministic answers are kept and given again to the same question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Bytes kept at most, questions included. One answer may take an eighth of it.
    pub bytes: u64,
    /// How long an answer is given again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ttl: Duration,
    /// Keep older answers, up to a day, for when nothing else can answer.
    #[serde(default)]
    pub stale: bool,
    /// Who shares answers: `key` (who shows the same credential), `header:NAME` (who sends
    /// the same value) or `all`. Whether an answer is kept tells who else has asked.
    #[serde(default = "per")]
    pub per: String,
    /// The model servers give the same answer for the same `seed`, so that it counts as
    /// deterministic. Many do not: what runs beside a request changes how they round.
    #[serde(default)]
    pub seeded: bool,
    /// Fields of a request that do not decide its answer.
    #[serde(default = "ignore")]
    pub ignore: Vec<String>,
}

/// How long after its time an answer may still be given for want of a better one.
pub const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

fn per() -> String {
    "key".into()
}

fn ignore() -> Vec<String> {
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "request_id",
        "priority",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Cache {
    /// With defaults for all but size and time.
    #[must_use]
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        Self { bytes, ttl, stale: false, per: per(), seeded: false, ignore: ignore() }
    }
}
