//! Replicas that stand by: ready to take over, and out of traffic until then.
//!
//! ```text
//!              promote                 it serves              the others are back, and clean
//!   standby ─────────────► promoting ─────────────► promoted ─────────────► demoting ─► standby
//!      ▲                        └── it cannot, or is not needed any more ──────┘
//! ```
//!
//! What a duty means for a pick is [`Gate::under`]: the health authority judges a standby as
//! any other replica, and its duty narrows what follows from that.

use crate::health::{Gate, Health};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a replica is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes traffic.
    #[default]
    Active,
    /// It takes over when active ones fail.
    Standby,
}

/// How far a standby is prepared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Its model is loaded, and it is ready.
    Hot,
    /// Its server is up, its model is not loaded.
    Warm,
    /// It is not started.
    Cold,
}

impl Level {
    /// All of them, the quickest first.
    pub const ALL: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    /// The word for people, the configuration and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// A request of ours to a model server: `POST`, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Path on the replica, with a query if need be.
    pub path: String,
    /// JSON body; `{}` by default.
    #[serde(default = "empty")]
    pub body: String,
}

fn empty() -> String {
    "{}".into()
}

/// What makes a replica a standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// How far it is prepared.
    pub level: Level,
    /// Makes its server load the model; for warm ones.
    pub load: Option<Call>,
    /// Makes its server free the model; for warm ones.
    pub unload: Option<Call>,
}

/// What a replica does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Duty {
    /// It is no standby: it takes its share.
    Active = 0,
    /// It stands by.
    Standby = 1,
    /// It is being made ready to take over.
    Promoting = 2,
    /// It has taken over, and takes its share.
    Promoted = 3,
    /// It ends what it has begun, and stands by then.
    Demoting = 4,
}

impl Duty {
    /// The duty behind a stored number; an unknown one stands by.
    #[must_use]
    pub const fn from_u8(raw: u8) -> Self {
        match raw {
            0 => Self::Active,
            2 => Self::Promoting,
            3 => Self::Promoted,
            4 => Self::Demoting,
            _ => Self::Standby,
        }
    }

    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Promoting => "promoting",
            Self::Promoted => "promoted",
            Self::Demoting => "demoting",
        }
    }

    /// Whether it takes its share of what comes.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Active | Self::Promoted)
    }
}

impl Gate {
    /// What is left of a gate under a duty. A hot standby in good health may be asked when
    /// nobody on duty can take a request; others that are not on duty are not there.
    #[must_use]
    pub const fn under(self, duty: Duty, level: Option<Level>) -> Self {
        match (duty.is_on(), level, self) {
            (true, _, gate) => gate,
            // The health authority drains it: state and gate change together, so that what is
            // under way there moves as it does when a person drains a replica.
            (false, Some(Level::Warm | Level::Cold), gate) if matches!(duty, Duty::Demoting) => {
                gate
            }
            (false, Some(Level::Hot), Self::Open) => Self::Reserve,
            (false, Some(Level::Hot), gate) => gate,
            (false, _, _) => Self::Shut,
        }
    }
}

/// The state that a duty gives a replica whatever is measured, and why; `None` for what the
/// measurements alone decide.
#[must_use]
pub const fn rest(duty: Duty, level: Level) -> Option<(Health, &'static str)> {
    match (duty, level) {
        (Duty::Standby, Level::Warm) => Some((Health::Stopped, "stands by, its model not loaded")),
        (Duty::Standby, Level::Cold) => Some((Health::Stopped, "stands by, not started")),
        (Duty::Demoting, Level::Warm | Level::Cold) => {
            Some((Health::Draining, "goes back to standing by; ends what it has begun"))
        }
        _ => None,
    }
}

/// When standbys take over, and when they go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Replicas that shall take traffic; by default as many as are active ones.
    pub keep: Option<u32>,
    /// How long there must be fewer before a standby is promoted.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub after: Duration,
    /// Who sends it back: `auto` or `manual`.
    pub failback: Failback,
    /// How long the active ones must have served without a break before that.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub clean: Duration,
}

impl Default for Rules {
    /// A minute: what comes and goes would otherwise take the standby with it.
    fn default() -> Self {
        Self {
            keep: None,
            after: Duration::ZERO,
            failback: Failback::Auto,
            clean: Duration::from_secs(60),
        }
    }
}

/// Who sends a promoted standby back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    /// Evenkeel, once the active ones have served for long enough.
    #[default]
    Auto,
    /// A person, with `evenkeel standby demote`.
    Manual,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_duties_agree() {
        for raw in 0..=4 {
            assert_eq!(Duty::from_u8(raw) as u8, raw);
        }
        assert_eq!(Duty::from_u8(99), Duty::Standby);
    }

    #[test]
    fn only_a_hot_standby_in_good_health_is_in_reserve() {
        let gate = |duty, level| Gate::Open.under(duty, level);
        assert_eq!(gate(Duty::Active, None), Gate::Open);
        assert_eq!(gate(Duty::Standby, Some(Level::Hot)), Gate::Reserve);
        assert_eq!(gate(Duty::Promoted, Some(Level::Warm)), Gate::Open);
        assert_eq!(gate(Duty::Demoting, Some(Level::Warm)), Gate::Open, "until it drains");
        for duty in [Duty::Standby, Duty::Promoting] {
            assert_eq!(gate(duty, Some(Level::Warm)), Gate::Shut);
            assert_eq!(gate(duty, Some(Level::Cold)), Gate::Shut);
            assert_eq!(Gate::Shut.under(duty, Some(Level::Hot)), Gate::Shut);
        }
    }
}
