//! What will happen unless something is done: a limit that a check sees ahead.

use super::{Millis, Step};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A limit that will be reached. Incidents about one carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreseen {
    /// The check that sees it.
    pub check: String,
    /// Which of the things that it looks at; empty where there is one.
    pub subject: String,
    /// Of what.
    pub measure: String,
    /// For people: which limit, and when.
    pub text: String,
    /// When.
    pub at: Millis,
    /// How long until something is done again while that is still so.
    pub again: Duration,
    /// What the check looks at, where that is a file or a directory.
    pub path: Option<PathBuf>,
}

/// How a limit ahead looks now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Which.
    pub foreseen: Foreseen,
    /// Why it is time to take away from a service what it has; `None` while a quieter hour
    /// may come.
    pub due: Option<String>,
    /// What is done about it unless a playbook says otherwise; nothing, where people are
    /// only told.
    pub steps: Vec<Step>,
}

/// As the `tries` of a step: it is done again and again while its reason stands.
pub const FOREVER: u32 = u32::MAX;
