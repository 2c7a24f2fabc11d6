//! What the clients saw.

use crate::load::tally::Tally;
use crate::load::{LoadSettings, Outcome, table};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was asked for; header values are hidden.
    pub settings: LoadSettings,
    /// Sums over the run.
    pub totals: Totals,
    /// How many requests ended how; all outcomes are listed.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How long good answers took, from when they were meant to be asked for.
    pub latency: Quantiles,
    /// How long failed requests took to fail.
    pub failed_wait: Quantiles,
    /// How long each refusal (429, 503) took, also of requests that were tried again.
    pub refused_wait: Quantiles,
    /// Time to the first content of a stream.
    pub ttft: Quantiles,
    /// Time between two pieces of content of a stream.
    pub gap: Quantiles,
    /// Open loop: how much later than meant requests were sent. Large values mean that the
    /// limit of requests in flight was reached, or that this machine is too slow to measure.
    pub send_delay: Quantiles,
    /// Second by second; coarser for runs of more than an hour.
    pub timeline: Vec<Second>,
    /// The first failures, those alike together.
    pub failures: Vec<Failure>,
}

/// Sums over a run, warm-up not included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    /// Requests sent.
    pub requests: u64,
    /// Answered whole and right.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// Cut off by the end of an interrupted run.
    pub interrupted: u64,
    /// Open loop: due, but not sent before the end, as too many were under way.
    pub unsent: u64,
    /// Sent during warm-up.
    pub warm_up: u64,
    /// Tries beyond each request's first.
    pub retries: u64,
    /// The part of ended requests that were ok; `None` if none ended.
    pub success: Option<f64>,
    /// From the start to the last answer.
    pub elapsed_s: f64,
    /// Ended requests per second.
    pub rate: f64,
    /// Pieces of content in streams.
    pub tokens: u64,
    /// Those per second.
    pub token_rate: f64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// Whether the run was ended early.
    pub ended_early: bool,
}

/// A distribution of times, in milliseconds, exact to a thousandth; all zero when nothing
/// was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
    /// Longest.
    pub max: f64,
}

/// What happened in one second (or more, see `width_s`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Second {
    /// Since the start of counting.
    pub at_s: u64,
    /// How many seconds this row covers.
    pub width_s: u64,
    /// Requests meant to be sent.
    pub offered: u64,
    /// Good answers that came.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Median of good answers' latency, at most an eighth too high.
    pub p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub p99_ms: Option<f64>,
    /// Median of the time to the first content of streams that began then.
    pub ttft_ms: Option<f64>,
}

/// A failed request, and others like it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// When it failed, since the start of counting.
    pub at_s: f64,
    /// After how long.
    pub waited_ms: f64,
    /// How.
    pub outcome: Outcome,
    /// What was seen.
    pub text: String,
    /// How many failed so; the times are of the first.
    pub count: u64,
}

impl Report {
    pub(crate) fn new(settings: &LoadSettings, tally: &Tally, ended_early: bool) -> Self {
        let named = Outcome::ALL.into_iter().zip(tally.outcomes);
        Self {
            settings: settings.clone(),
            totals: Totals::new(tally, ended_early),
            outcomes: named.map(|(outcome, count)| (outcome.name(), count)).collect(),
            latency: Quantiles::of(&tally.latency),
            failed_wait: Quantiles::of(&tally.failed_wait),
            refused_wait: Quantiles::of(&tally.refused_wait),
            ttft: Quantiles::of(&tally.ttft),
            gap: Quantiles::of(&tally.gap),
            send_delay: Quantiles::of(&tally.late),
            timeline: tally.timeline.seconds(),
            failures: tally.failures.clone(),
        }
    }

    /// How many requests ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.name()).copied().unwrap_or(0)
    }

    /// As JSON, on several lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys: nothing that JSON cannot express.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }
}

impl Totals {
    fn new(tally: &Tally, ended_early: bool) -> Self {
        let ended: u64 = tally.outcomes.iter().sum();
        let ok = tally.outcomes[Outcome::Ok as usize];
        let elapsed_s = tally.last.as_secs_f64();
        let per_second = |n: u64| if elapsed_s > 0.0 { n as f64 / elapsed_s } else { 0.0 };
        Self {
            requests: tally.begun,
            ok,
            failed: ended - ok,
            interrupted: tally.begun - ended,
            unsent: tally.unsent,
            warm_up: tally.warm_up,
            retries: tally.retries,
            success: (ended > 0).then(|| ok as f64 / ended as f64),
            elapsed_s,
            rate: per_second(ended),
            tokens: tally.tokens,
            token_rate: per_second(tally.tokens),
            bytes: tally.bytes,
            ended_early,
        }
    }
}

impl Quantiles {
    fn of(us: &Histogram<u64>) -> Self {
        if us.is_empty() {
            return Self::default();
        }
        let at = |share| us.value_at_quantile(share) as f64 / 1e3;
        Self {
            count: us.len(),
            mean: us.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: us.max() as f64 / 1e3,
        }
    }
}
