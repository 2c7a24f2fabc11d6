//! What one worker counted.

use crate::load::timeline::Timeline;
use crate::load::{Failure, Flaw, Outcome};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// The longest time told apart: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;
/// Distinct failures kept with their text.
pub(crate) const MOST_FAILURES: usize = 10;

/// Counts of requests that count. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Time since when counting began.
    from: Instant,
    pub(crate) begun: u64,
    pub(crate) unsent: u64,
    pub(crate) warm_up: u64,
    pub(crate) outcomes: [u64; Outcome::ALL.len()],
    pub(crate) latency: Histogram<u64>,
    pub(crate) failed_wait: Histogram<u64>,
    pub(crate) refused_wait: Histogram<u64>,
    pub(crate) retries: u64,
    pub(crate) ttft: Histogram<u64>,
    pub(crate) gap: Histogram<u64>,
    pub(crate) late: Histogram<u64>,
    pub(crate) tokens: u64,
    pub(crate) bytes: u64,
    pub(crate) timeline: Timeline,
    pub(crate) failures: Vec<Failure>,
    pub(crate) last: Duration,
}

/// When a request was meant to be sent, was sent, and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
}

fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).map_err(|e| e.to_string())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Tally {
    pub(crate) fn new(from: Instant) -> Result<Self, String> {
        Ok(Self {
            from,
            begun: 0,
            unsent: 0,
            warm_up: 0,
            outcomes: [0; Outcome::ALL.len()],
            latency: histogram()?,
            failed_wait: histogram()?,
            refused_wait: histogram()?,
            retries: 0,
            ttft: histogram()?,
            gap: histogram()?,
            late: histogram()?,
            tokens: 0,
            bytes: 0,
            timeline: Timeline::new(),
            failures: Vec::new(),
            last: Duration::ZERO,
        })
    }

    pub(crate) fn begin(&mut self, intended: Instant) {
        self.begun += 1;
        self.timeline.offered(intended.saturating_duration_since(self.from));
    }

    /// A request that could not be sent before the end of the run.
    pub(crate) fn unsent(&mut self, intended: Instant) {
        self.unsent += 1;
        self.timeline.offered(intended.saturating_duration_since(self.from));
    }

    /// A try was refused for too much load, so long after it was sent.
    pub(crate) fn refused(&mut self, waited: Duration) {
        self.refused_wait.saturating_record(micros(waited));
    }

    /// The first content of a stream came.
    pub(crate) fn first_tokens(&mut self, at: Instant, intended: Instant, count: u64) {
        let waited = at.saturating_duration_since(intended);
        self.timeline.first(at.saturating_duration_since(self.from), waited);
        self.ttft.saturating_record(micros(waited));
        self.more_at_once(count);
    }

    /// More content came.
    pub(crate) fn next_tokens(&mut self, gap: Duration, count: u64) {
        self.gap.saturating_record(micros(gap));
        self.more_at_once(count);
    }

    /// Tokens that come in one piece have no gap between them.
    fn more_at_once(&mut self, count: u64) {
        self.tokens += count;
        self.gap.saturating_record_n(0, count.saturating_sub(1));
    }

    pub(crate) fn end(&mut self, times: Times, bytes: u64, open: bool, result: Result<(), Flaw>) {
        let since = times.ended.saturating_duration_since(self.from);
        let waited = times.ended.saturating_duration_since(times.intended);
        self.last = self.last.max(since);
        self.bytes += bytes;
        if open {
            let late = times.sent.saturating_duration_since(times.intended);
            self.late.saturating_record(micros(late));
        }
        match result {
            Ok(()) => {
                self.outcomes[Outcome::Ok as usize] += 1;
                self.latency.saturating_record(micros(waited));
                self.timeline.ok(since, waited);
            }
            Err(flaw) => {
                self.outcomes[flaw.outcome as usize] += 1;
                self.failed_wait.saturating_record(micros(waited));
                self.timeline.failed(since);
                self.keep(since, waited, flaw);
            }
        }
    }

    fn keep(&mut self, since: Duration, waited: Duration, flaw: Flaw) {
        let alike = |kept: &&mut Failure| {
            kept.outcome == flaw.outcome && flaw.text.starts_with(kept.text.as_str())
        };
        if let Some(kept) = self.failures.iter_mut().find(alike) {
            kept.count += 1;
        } else if self.failures.len() < MOST_FAILURES {
            self.failures.push(Failure {
                at_s: since.as_secs_f64(),
                waited_ms: waited.as_secs_f64() * 1e3,
                outcome: flaw.outcome,
                text: flaw.text.chars().take(300).collect(),
                count: 1,
            });
        }
    }

    fn merge_failures(&mut self, others: Vec<Failure>) {
        self.failures.extend(others);
        self.failures.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let mut merged: Vec<Failure> = Vec::new();
        for failure in self.failures.drain(..) {
            let alike =
                |kept: &&mut Failure| kept.outcome == failure.outcome && kept.text == failure.text;
            match merged.iter_mut().find(alike) {
                Some(kept) => kept.count += failure.count,
                None => merged.push(failure),
            }
        }
        merged.truncate(MOST_FAILURES);
        self.failures = merged;
    }

    pub(crate) fn merge(&mut self, other: Self) -> Result<(), String> {
        self.begun += other.begun;
        self.unsent += other.unsent;
        self.warm_up += other.warm_up;
        self.retries += other.retries;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.last = self.last.max(other.last);
        for (count, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *count += more;
        }
        let pairs = [
            (&mut self.latency, other.latency),
            (&mut self.failed_wait, other.failed_wait),
            (&mut self.refused_wait, other.refused_wait),
            (&mut self.ttft, other.ttft),
            (&mut self.gap, other.gap),
            (&mut self.late, other.late),
        ];
        for (histogram, more) in pairs {
            histogram.add(more).map_err(|e| e.to_string())?;
        }
        self.timeline.merge(other.timeline);
        self.merge_failures(other.failures);
        Ok(())
    }
}
