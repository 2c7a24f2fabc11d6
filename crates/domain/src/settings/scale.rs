//! Settings of how many copies of a supervised replica run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many copies run, by what is measured. At least one target must be set; of several,
/// the one that asks for most counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scale {
    /// Copies that always run.
    pub min: u32,
    /// Copies that run at most.
    pub max: u32,
    /// Requests that wait for a place, for each copy that serves.
    pub target_queue: Option<f64>,
    /// Share of what copies may have under way that is in use, such as 0.7; counts those
    /// whose bound is set or was found.
    pub target_utilisation: Option<f64>,
    /// Time to a stream's first token: the 90th percentile over the last 30 s.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub target_first_token: Option<Duration>,
    /// How long more must have been asked for without a break; by default no time for
    /// requests that wait, and 30 s for the rest.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub up_after: Option<Duration>,
    /// How long fewer must have been enough without a break.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub down_after: Duration,
    /// Copies added at once.
    pub step_up: u32,
    /// Copies taken away at once.
    pub step_down: u32,
}

impl Default for Scale {
    /// Up at once, for people wait; down late, for a model loads for minutes.
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            target_queue: None,
            target_utilisation: None,
            target_first_token: None,
            up_after: None,
            down_after: Duration::from_secs(300),
            step_up: 2,
            step_down: 1,
        }
    }
}
