//! Doing less, step by step, when not everything can be done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The highest level.
pub const LEVEL_MAX: u8 = 6;

/// What each level adds to those before it.
pub const LEVELS: [&str; 7] = [
    "everything is done",
    "no second attempts beside slow ones",
    "best-effort requests are refused",
    "answers are cut short",
    "a cheaper service answers",
    "the cache answers, even with what is too old",
    "a fixed text answers",
];

/// When and how far a service does less. A level is entered when any of the measures stays
/// above its threshold, and left when all stay well below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Degrade {
    /// Share of what replicas may have under way that is in use (of those with a bound).
    pub load: f64,
    /// Requests on hold.
    pub held: u32,
    /// Objective for the time to a stream's first token, of which the 99th
    /// percentile over the last 30 s counts. Not looked at when it is not set.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub first_token: Option<Duration>,
    /// Share of requests that must be answered well, such as 0.999; not looked at when it
    /// is not set.
    pub objective: Option<f64>,
    /// How many times faster than that allows errors may come, over the last minute.
    pub burn: f64,
    /// Share of the thresholds below which there is relief.
    pub relief: f64,
    /// How long pressure lasts before the next level is entered; twice as long for core
    /// services, which go last.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub rise: Duration,
    /// How long a level is kept at least, and relief must last before it is left.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub dwell: Duration,
    /// The highest level that is entered without an order.
    pub max_level: u8,
    /// Longest answer from level 3 on, in tokens.
    pub max_tokens: u32,
    /// The service that answers from level 4 on; by default the first of `fallback`.
    pub cheaper: Option<String>,
    /// The text of level 6; by default the first of `fallback`.
    pub fixed: Option<String>,
}

impl Default for Degrade {
    fn default() -> Self {
        Self {
            load: 0.95,
            held: 50,
            first_token: None,
            objective: None,
            burn: 14.4,
            relief: 0.7,
            rise: Duration::from_secs(5),
            dwell: Duration::from_secs(30),
            max_level: LEVEL_MAX,
            max_tokens: 256,
            cheaper: None,
            fixed: None,
        }
    }
}
