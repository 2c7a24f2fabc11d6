//! What an incident keeps in force beyond the step that began it.
//!
//! It is a part of the incident, so the journal says what holds: it begins with the row of its
//! step, ends with the incident or by a row of its own, and a process that follows another
//! knows it as soon as it has read the journal.

use serde::{Deserialize, Serialize};

/// Something that holds until its incident is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The key of the step that began it.
    pub key: String,
    /// Whether a person ordered it: then it is not ended by what is measured.
    pub by_hand: bool,
    /// What.
    #[serde(flatten)]
    pub what: Holding,
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "holds", rename_all = "snake_case")]
pub enum Holding {
    /// Another one answers the requests of the incident's service.
    FailOver {
        /// Who.
        to: Elsewhere,
    },
    /// The service has at least so many copies.
    Copies {
        /// How many it had before.
        from: u32,
        /// How many it has at least.
        to: u32,
    },
}

/// Where requests go when a service cannot answer them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// To the service of this name.
    Service(String),
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Service(name) = self;
        f.write_str(name)
    }
}

impl Holding {
    /// For people, as a part of a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::FailOver { to } => format!("{to} answers its requests"),
            Self::Copies { to, .. } => format!("it has at least {to} copies"),
        }
    }
}
