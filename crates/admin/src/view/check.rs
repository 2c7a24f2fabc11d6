//! Checks.

use evenkeel_domain::check::CheckStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a check stands with one thing it looks at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// The check.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Which of several things it looks at (a replica, a GPU); empty where there is one.
    pub subject: String,
    /// `ok`, `warning`, `critical`, or `unknown` when there is no data.
    pub state: String,
    /// Since when.
    pub since_unix_ms: u64,
    /// Why: what was measured, and what it may be.
    pub why: String,
    /// What the last look said, where that has not lasted long enough to count.
    pub pending: Option<String>,
    /// The last look; absent before the first.
    pub looked_unix_ms: Option<u64>,
    /// What was measured then, in seconds, bytes, shares of 1, degrees Celsius.
    pub values: Vec<CheckValueView>,
    /// The replicas it speaks against when critical.
    pub replicas: Vec<String>,
    /// The limit that it will reach, and when; absent where that is far away.
    pub ahead: Option<String>,
    /// When that will be, in milliseconds since the Unix epoch.
    pub ahead_unix_ms: Option<u64>,
}

/// One measured value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckValueView {
    /// What was measured.
    pub measure: String,
    /// How much, in the unit's base.
    pub value: f64,
    /// The same for people.
    pub shown: String,
}

impl From<CheckStatus> for CheckView {
    fn from(status: CheckStatus) -> Self {
        let values = status.values.into_iter().map(|v| CheckValueView {
            shown: v.unit.show(v.value),
            measure: v.measure,
            value: v.value,
        });
        Self {
            name: status.check,
            kind: status.kind,
            subject: status.subject,
            state: status.state.label().into(),
            since_unix_ms: status.since_unix_ms,
            why: status.why,
            pending: status.pending,
            looked_unix_ms: status.looked_unix_ms,
            values: values.collect(),
            replicas: status.replicas,
            ahead_unix_ms: status.ahead.as_ref().map(|ahead| ahead.at_unix_ms),
            ahead: status.ahead.map(|ahead| ahead.text),
        }
    }
}
