//! How a service is answered where one replica's word is not the whole story: settings as
//! the configuration file spells them, and what was done so far.
//!
//! All of it is off unless asked for, and costs nothing then.

mod cache;
mod counts;
mod degrade;
mod quorum;

pub use cache::{Cache, STALE_MAX};
pub use counts::AnswerCounts;
pub use degrade::{Degrade, LEVEL_MAX, LEVELS};
pub use quorum::{Compare, Golden, GoldenValue, Quorum, near};

use serde::Serialize;
use std::sync::Arc;

/// Everything about a service's answers beside routing and retrying.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answers {
    /// Several replicas must agree.
    pub quorum: Option<Quorum>,
    /// Questions whose answers are known.
    pub golden: Vec<Golden>,
    /// Answers are kept.
    pub cache: Option<Cache>,
    /// Who answers when the service cannot, in this order.
    pub fallback: Vec<Fallback>,
    /// The service for requests that are too long for this one's model.
    pub larger: Option<String>,
    /// How it does less.
    pub degrade: Option<Degrade>,
    /// Whether recovery may have another service answer in its place.
    pub fails_over: bool,
}

/// Who answers in a service's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The service of this name.
    Service(String),
    /// The service's own cache, with answers that are too old, too.
    Cache,
    /// This text.
    Fixed(Arc<str>),
}

impl Answers {
    /// Whether a request may be answered by anything but an attempt (or vote) of its own.
    #[must_use]
    pub fn is_roundabout(&self) -> bool {
        self.cache.is_some()
            || !self.fallback.is_empty()
            || self.larger.is_some()
            || self.degrade.is_some()
            || self.fails_over
    }
}
