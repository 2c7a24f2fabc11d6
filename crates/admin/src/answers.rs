//! What was done about answers, for metrics and the snapshot.

use evenkeel_domain::answers::AnswerCounts;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// A counter: its name after `evenkeel_`, its help, where its value is.
pub(crate) type Counter = (&'static str, &'static str, fn(&AnswerCounts) -> u64);

/// All of them.
pub(crate) const COUNTERS: [Counter; 14] = [
    ("evenkeel_quorum_agreed", "Requests on whose answer enough replicas agreed.", |c| {
        c.agreed.load(Relaxed)
    }),
    ("evenkeel_quorum_split", "Requests refused because too few replicas agreed.", |c| {
        c.split.load(Relaxed)
    }),
    ("evenkeel_quorum_deviations", "Answers that deviated from what others agreed on.", |c| {
        c.deviations.load(Relaxed)
    }),
    ("evenkeel_cache_hits", "Answers given from the cache.", |c| c.cache_hits.load(Relaxed)),
    ("evenkeel_cache_stale", "Stale answers given for want of others.", |c| {
        c.cache_stale.load(Relaxed)
    }),
    ("evenkeel_cache_misses", "Requests whose answer was not in the cache.", |c| {
        c.cache_misses.load(Relaxed)
    }),
    ("evenkeel_cache_shared", "Requests that shared another's attempt.", |c| {
        c.cache_shared.load(Relaxed)
    }),
    ("evenkeel_fallback_service", "Requests that another service answered.", |c| {
        c.fallback_service.load(Relaxed)
    }),
    ("evenkeel_failed_over", "Requests answered elsewhere while failed over.", |c| {
        c.failed_over.load(Relaxed)
    }),
    ("evenkeel_fallback_cache", "Requests answered from the cache for want of others.", |c| {
        c.fallback_cache.load(Relaxed)
    }),
    ("evenkeel_fallback_fixed", "Requests answered with a fixed text.", |c| {
        c.fallback_fixed.load(Relaxed)
    }),
    ("evenkeel_degrade_refused", "Best-effort requests refused because of the level.", |c| {
        c.degrade_refused.load(Relaxed)
    }),
    ("evenkeel_degrade_cut", "Requests whose answers were cut short because of the level.", |c| {
        c.degrade_cut.load(Relaxed)
    }),
    ("evenkeel_degrade_changes", "Changes of the level.", |c| c.degrade_changes.load(Relaxed)),
];

/// What rises and falls.
pub(crate) const GAUGES: [Counter; 2] = [
    ("evenkeel_cache_bytes", "Bytes in the cache.", |c| c.cache_bytes.load(Relaxed)),
    ("evenkeel_degrade_level", "Level of degradation; 0 does everything.", |c| {
        c.degrade_level.load(Relaxed)
    }),
];

/// Those that ever rose, by name.
pub(crate) fn view(counts: &AnswerCounts) -> BTreeMap<String, u64> {
    let short = |name: &str| name.trim_start_matches("evenkeel_").to_owned();
    COUNTERS
        .into_iter()
        .chain(GAUGES)
        .map(|(name, _, read)| (short(name), read(counts)))
        .filter(|(_, value)| *value > 0)
        .collect()
}
