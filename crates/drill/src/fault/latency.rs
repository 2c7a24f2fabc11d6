//! A long way.

use crate::fault::{Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// However long it has been rising.
const LONGEST: Duration = Duration::from_secs(3600);

/// Every piece of an answer comes later. Pieces overlap on their way, as on a long line: a
/// stream is delayed once, not at every token.
#[derive(Debug, Clone)]
pub struct Latency {
    /// By how much.
    pub delay: Duration,
    /// Up to so much more or less, evenly spread; order is kept.
    pub jitter: Duration,
    /// By what share the delay grows with each second since the first piece.
    pub rise: f64,
    /// When that was.
    pub first: OnceLock<Instant>,
}

impl Latency {
    /// Without jitter.
    #[must_use]
    pub fn of(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, rise: 0.0, first: OnceLock::new() }
    }
}

impl Fault for Latency {
    fn step(&self, flow: &mut Flow, _piece: &[u8]) -> Step {
        let swing = self.jitter.mul_f64(2.0 * flow.rng.f64());
        let since = flow.now.saturating_duration_since(*self.first.get_or_init(|| flow.now));
        let delay = self.delay.as_secs_f64() * (1.0 + self.rise).powf(since.as_secs_f64());
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(LONGEST).min(LONGEST);
        Step::At(flow.now + (delay + swing).saturating_sub(self.jitter))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latency:{:?}", self.delay)?;
        if !self.jitter.is_zero() {
            write!(f, ",jitter={:?}", self.jitter)?;
        }
        if self.rise > 0.0 { write!(f, ",rise={}%", self.rise * 100.0) } else { Ok(()) }
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let values = spec::values(value, &["jitter", "rise"])?;
    let jitter = values.get("jitter").map_or(Ok(Duration::ZERO), spec::duration)?;
    let rise = values.get("rise").map_or(Ok(0.0), spec::share)?;
    let delay = spec::duration(values.first)?;
    Ok(Arc::new(Latency { delay, jitter, rise, first: OnceLock::new() }))
}
