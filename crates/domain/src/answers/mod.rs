//! How a service is answered where one replica's word is not the whole story: settings as
//! the configuration file spells them, and what was done so far.
//!
//! All of it is off unless asked for, and costs nothing then.

mod counts;
mod quorum;

pub use counts::AnswerCounts;
pub use quorum::{Compare, Golden, GoldenValue, Quorum, near};

use serde::Serialize;

/// Everything about a service's answers beside routing and retrying.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answers {
    /// Several replicas must agree.
    pub quorum: Option<Quorum>,
    /// Questions whose answers are known.
    pub golden: Vec<Golden>,
}
