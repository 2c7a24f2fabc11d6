//! Checks: what is asked of a host, its devices, its neighbours and its databases, and what
//! is made of the answers.
//!
//! ```text
//!   reading ─► thresholds ─► for how long ─► Ok | Warning | Critical | Unknown
//!                                                        └─► a signal for its replicas
//! ```

mod amount;
mod settings;

pub use amount::{Amount, Unit};
pub use settings::{CheckSettings, Forecast, Levels};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Checks at most: each has a task, and several series of metrics.
pub const CHECKS: usize = 64;

/// What is known by a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Nothing is wrong.
    Ok,
    /// A person should look.
    Warning,
    /// It is wrong.
    Critical,
    /// There is no data, which says nothing of what is asked.
    #[default]
    Unknown,
}

impl CheckState {
    /// All of them, in the order of their numbers, which are those of Nagios' exit codes.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Critical, Self::Unknown];

    /// Its name in views, metrics and the JSON of scripts.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// 0, 1, 2 and 3.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// How bad it is: no data is worse than nothing wrong, and better than something wrong.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }

    /// The worse of two.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

impl fmt::Display for CheckState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckValue {
    /// What was measured.
    pub measure: String,
    /// How much, in the unit's base: seconds, bytes, shares of 1.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

/// Where a check stands with one thing it looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The check.
    pub check: String,
    /// Its kind.
    pub kind: String,
    /// Which of several things it looks at (a replica, a GPU); empty where there is one.
    pub subject: String,
    /// What is known.
    pub state: CheckState,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// Why: what was measured, and what it may be.
    pub why: String,
    /// What the last look said, where that does not count yet.
    pub pending: Option<String>,
    /// The last look, in milliseconds since the Unix epoch; absent before the first.
    pub looked_unix_ms: Option<u64>,
    /// What was measured then.
    pub values: Vec<CheckValue>,
    /// The replicas it speaks against when critical.
    pub replicas: Vec<String>,
    /// When it will reach a limit, where that is near enough to count.
    #[serde(default)]
    pub ahead: Option<Ahead>,
}

/// A limit that will be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Of what.
    pub measure: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// For people: which limit, and when.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_nagios_and_no_data_is_no_fault() {
        for (code, state) in CheckState::ALL.iter().enumerate() {
            assert_eq!(usize::from(state.code()), code);
        }
        assert_eq!(CheckState::Unknown.worse(CheckState::Warning), CheckState::Warning);
        assert_eq!(CheckState::Ok.worse(CheckState::Unknown), CheckState::Unknown);
    }
}
