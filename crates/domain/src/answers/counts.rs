//! What was done about a service's answers since the process started.

use std::sync::atomic::AtomicU64;

/// Counters; all of them only rise.
#[derive(Debug, Default)]
pub struct AnswerCounts {
    /// Requests on whose answer enough replicas agreed.
    pub agreed: AtomicU64,
    /// Requests that were refused because too few replicas agreed.
    pub split: AtomicU64,
    /// Answers that deviated from what enough others agreed on.
    pub deviations: AtomicU64,
}
