//! `[service.slo]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a service promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Slo {
    /// Percent of the time in which it takes requests, and of the valid requests that are
    /// answered well.
    pub availability: f64,
    /// The time for which that holds: the error budget is what may fail in it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// How soon answers begin; without it only their success counts.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub latency: Option<Duration>,
    /// Percent of the good requests whose answers begin within `latency`.
    pub latency_percent: f64,
}

impl Default for Slo {
    /// Three nines over 30 days: 43 minutes, which is what one careful team with one site
    /// can keep.
    fn default() -> Self {
        Self {
            availability: 99.9,
            window: Duration::from_secs(30 * 86_400),
            latency: None,
            latency_percent: 95.0,
        }
    }
}

impl Slo {
    /// The objective as a share.
    #[must_use]
    pub fn objective(&self) -> f64 {
        self.availability / 100.0
    }

    /// The same for latency, where there is one.
    #[must_use]
    pub fn latency_objective(&self) -> Option<f64> {
        self.latency.map(|_| self.latency_percent / 100.0)
    }
}
