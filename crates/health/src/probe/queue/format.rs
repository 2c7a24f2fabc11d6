//! What engines write about their load. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Cache in use from which an engine may have to stop what it works on.
const FULL: f64 = 0.95;

/// An engine's load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Load {
    /// Requests it works on, where it says so.
    pub(super) running: Option<u32>,
    /// Requests in its queue.
    pub(super) waiting: u32,
    /// Requests it can work on, where it says so.
    pub(super) slots: Option<u32>,
    /// Its cache is nearly full.
    pub(super) full: bool,
}

/// What a metric says.
#[derive(Clone, Copy)]
enum Says {
    Running,
    Waiting,
    Cache,
}

/// The names that engines use. Values of one name with several labels add up, as those of
/// several models or data-parallel ranks do.
const NAMES: [(&str, Says); 14] = [
    ("vllm:num_requests_running", Says::Running),
    ("vllm:num_requests_waiting", Says::Waiting),
    ("vllm:kv_cache_usage_perc", Says::Cache),
    ("vllm:gpu_cache_usage_perc", Says::Cache),
    ("sglang:num_running_reqs", Says::Running),
    ("sglang:num_queue_reqs", Says::Waiting),
    ("sglang:token_usage", Says::Cache),
    ("llamacpp:requests_processing", Says::Running),
    ("llamacpp:requests_deferred", Says::Waiting),
    ("llamacpp:kv_cache_usage_ratio", Says::Cache),
    ("tgi_batch_current_size", Says::Running),
    ("tgi_queue_size", Says::Waiting),
    ("trtllm_num_requests_running", Says::Running),
    ("nv_inference_pending_request_count", Says::Waiting),
];

/// Reads Prometheus text; `None` when no engine's queue is in it.
pub(super) fn metrics(text: &str) -> Option<Load> {
    let mut load = Load::default();
    let mut tells = false;
    for line in text.lines() {
        let Some((says, value)) = sample(line) else { continue };
        match says {
            Says::Running => *load.running.get_or_insert(0) += value as u32,
            Says::Waiting => {
                tells = true;
                load.waiting += value as u32;
            }
            Says::Cache => load.full |= value >= FULL,
        }
    }
    tells.then_some(load)
}

/// One line, if it is one of ours: `name{labels} value [timestamp]`.
fn sample(line: &str) -> Option<(Says, f64)> {
    // Most lines are of histograms: the first letter sorts them out.
    if !matches!(line.as_bytes().first(), Some(b'v' | b's' | b'l' | b't' | b'n')) {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (_, says) = NAMES.iter().find(|(name, _)| *name == &line[..end])?;
    let rest = &line[end..];
    // A label's value may have a brace in it; the last one ends them all.
    let value = if rest.starts_with('{') { &rest[rest.rfind('}')? + 1..] } else { rest };
    let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((*says, value))
}

/// Reads llama.cpp's `/slots`.
pub(super) fn slots(text: &str) -> Option<Load> {
    #[derive(Deserialize)]
    struct Slot<'a> {
        #[serde(default)]
        is_processing: Option<bool>,
        /// Older versions: 1 while it works.
        #[serde(borrow, default)]
        state: Option<&'a RawValue>,
    }
    let all: Vec<Slot<'_>> = serde_json::from_str(text).ok()?;
    let tells = |slot: &Slot<'_>| slot.is_processing.is_some() || slot.state.is_some();
    if all.is_empty() || !all.iter().all(tells) {
        return None;
    }
    let works = |slot: &&Slot<'_>| {
        slot.is_processing.unwrap_or_else(|| slot.state.is_some_and(|s| s.get() != "0"))
    };
    let running = all.iter().filter(works).count();
    Some(Load {
        running: u32::try_from(running).ok(),
        slots: u32::try_from(all.len()).ok(),
        ..Load::default()
    })
}

/// Reads SGLang's `/get_load`: one entry for each data-parallel rank.
pub(super) fn sglang_load(text: &str) -> Option<Load> {
    #[derive(Deserialize)]
    struct Rank {
        num_reqs: u32,
        num_waiting_reqs: u32,
    }
    let ranks: Vec<Rank> = serde_json::from_str(text).ok()?;
    let waiting = ranks.iter().map(|r| r.num_waiting_reqs).sum();
    let all: u32 = ranks.iter().map(|r| r.num_reqs).sum();
    (!ranks.is_empty()).then(|| Load {
        running: Some(all.saturating_sub(waiting)),
        waiting,
        ..Load::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_engine_is_understood() {
        let vllm = "# HELP vllm:num_requests_running Number of requests.\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"a}b\"} 7.0\n\
             vllm:num_requests_running{engine=\"1\",model_name=\"a}b\"} 5.0\n\
             vllm:num_requests_waiting{engine=\"0\"} 2.0\n\
             vllm:num_requests_waiting_by_reason{reason=\"x\"} 9.0\n\
             vllm:kv_cache_usage_perc{engine=\"0\"} 0.97\n";
        let load = Load { running: Some(12), waiting: 2, slots: None, full: true };
        assert_eq!(metrics(vllm), Some(load));
        let llama = "llamacpp:requests_processing 3\nllamacpp:requests_deferred 4 1700000000\n";
        let load = Load { running: Some(3), waiting: 4, slots: None, full: false };
        assert_eq!(metrics(llama), Some(load));
        let triton = "nv_inference_pending_request_count{model=\"m\",version=\"1\"} 6\n";
        assert_eq!(metrics(triton), Some(Load { waiting: 6, ..Load::default() }));
        assert_eq!(metrics("process_cpu_seconds_total 3\nvllm:num_requests_running 1\n"), None);
        assert_eq!(metrics("vllm:num_requests_waiting NaN\n"), None);
    }

    #[test]
    fn slots_and_ranks_are_counted() {
        let new = r#"[{"id":0,"is_processing":true,"prompt":"x"},{"id":1,"is_processing":false}]"#;
        let load = Load { running: Some(1), waiting: 0, slots: Some(2), full: false };
        assert_eq!(slots(new), Some(load));
        assert_eq!(slots(r#"[{"state":1},{"state":0}]"#), Some(load));
        for other in ["[]", "{}", r#"[{"id":1}]"#, "nope"] {
            assert_eq!((slots(other), sglang_load(other)), (None, None), "{other}");
        }
        let ranks = r#"[{"dp_rank":0,"num_reqs":5,"num_waiting_reqs":2},
            {"dp_rank":1,"num_reqs":1,"num_waiting_reqs":0}]"#;
        let load = Load { running: Some(4), waiting: 2, slots: None, full: false };
        assert_eq!(sglang_load(ranks), Some(load));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"(vllm:num_requests_(running|waiting)|[{}\[\]" a-z0-9.:]){0,20}"#) {
            let _ = (metrics(&text), slots(&text), sglang_load(&text));
        }
    }
}
