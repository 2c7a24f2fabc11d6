//! What was done about a service's answers since the process started.

use std::sync::atomic::AtomicU64;

/// Counters; all but `cache_bytes` and `degrade_level` only rise.
#[derive(Debug, Default)]
pub struct AnswerCounts {
    /// Requests on whose answer enough replicas agreed.
    pub agreed: AtomicU64,
    /// Requests that were refused because too few replicas agreed.
    pub split: AtomicU64,
    /// Answers that deviated from what enough others agreed on.
    pub deviations: AtomicU64,
    /// Answers given from what was kept.
    pub cache_hits: AtomicU64,
    /// Answers given from what was kept and too old, for want of others.
    pub cache_stale: AtomicU64,
    /// Requests whose answer might have been kept and was not.
    pub cache_misses: AtomicU64,
    /// … of which did not ask a replica, but shared another's attempt.
    pub cache_shared: AtomicU64,
    /// Requests that another service answered.
    pub fallback_service: AtomicU64,
    /// … of which because it was failed over.
    pub failed_over: AtomicU64,
    /// Requests that the cache answered because the service could not.
    pub fallback_cache: AtomicU64,
    /// Requests that were answered with a fixed text.
    pub fallback_fixed: AtomicU64,
    /// Best-effort requests refused because of the level.
    pub degrade_refused: AtomicU64,
    /// Requests whose answers were cut short because of the level.
    pub degrade_cut: AtomicU64,
    /// Changes of the level.
    pub degrade_changes: AtomicU64,
    /// The level now; 0 does everything.
    pub degrade_level: AtomicU64,
    /// Bytes kept now.
    pub cache_bytes: AtomicU64,
}
