//! What was done about answers, for metrics and the snapshot.

use evenkeel_domain::answers::AnswerCounts;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// A counter: its name after `evenkeel_`, its help, where its value is.
pub(crate) type Counter = (&'static str, &'static str, fn(&AnswerCounts) -> u64);

/// All of them.
pub(crate) const COUNTERS: [Counter; 3] = [
    ("evenkeel_quorum_agreed", "Requests on whose answer enough replicas agreed.", |c| {
        c.agreed.load(Relaxed)
    }),
    ("evenkeel_quorum_split", "Requests refused because too few replicas agreed.", |c| {
        c.split.load(Relaxed)
    }),
    ("evenkeel_quorum_deviations", "Answers that deviated from what others agreed on.", |c| {
        c.deviations.load(Relaxed)
    }),
];

/// Those that ever rose, by name.
pub(crate) fn view(counts: &AnswerCounts) -> BTreeMap<String, u64> {
    let short = |name: &str| name.trim_start_matches("evenkeel_").to_owned();
    COUNTERS
        .into_iter()
        .map(|(name, _, read)| (short(name), read(counts)))
        .filter(|(_, value)| *value > 0)
        .collect()
}
