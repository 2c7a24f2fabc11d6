//! What is shown while a run goes on.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Since the start, warm-up included.
    pub elapsed: Duration,
    /// For how long requests are sent, where that is given.
    pub planned_time: Option<Duration>,
    /// How many requests are sent, where that is known; warm-up not included.
    pub planned_requests: Option<u64>,
    /// Requests sent so far, warm-up included.
    pub begun: u64,
    /// Of them, those that have ended.
    pub ended: u64,
    /// Of those, the ones that failed.
    pub failed: u64,
    /// The longest that one took that ended.
    pub slowest: Duration,
}

impl Snapshot {
    /// The part that is done, 0 to 1; the larger one where both time and number are given.
    #[must_use]
    pub fn share(&self) -> f64 {
        let time = self.planned_time.filter(|t| !t.is_zero());
        let by_time = time.map_or(0.0, |t| self.elapsed.as_secs_f64() / t.as_secs_f64());
        let number = self.planned_requests.filter(|n| *n > 0);
        let by_number = number.map_or(0.0, |n| self.ended as f64 / n as f64);
        by_time.max(by_number).min(1.0)
    }
}

/// Hears about ten times a second how far a run is.
pub trait Progress: Send + Sync {
    /// So far.
    fn tick(&self, snapshot: &Snapshot);
    /// The run is over.
    fn end(&self) {}
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn tick(&self, _: &Snapshot) {}
}

/// A bar on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar at its start.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::new(1_000);
        if let Ok(style) = ProgressStyle::with_template("{elapsed} [{bar:30}] {percent}% {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn tick(&self, snapshot: &Snapshot) {
        let Snapshot { elapsed, begun, ended, failed, .. } = *snapshot;
        let rate = ended as f64 / elapsed.as_secs_f64().max(1e-3);
        let waiting = begun.saturating_sub(ended);
        self.0.set_position((snapshot.share() * 1e3) as u64);
        self.0.set_message(format!(
            "{ended} answered ({rate:.0}/s), {failed} failed, {waiting} waiting"
        ));
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
