//! A long way.

use crate::fault::{Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Every piece of an answer comes later. Pieces overlap on their way, as on a long line: a
/// stream is delayed once, not at every token.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// By how much.
    pub delay: Duration,
    /// Up to so much more or less, evenly spread; order is kept.
    pub jitter: Duration,
}

impl Latency {
    /// Without jitter.
    #[must_use]
    pub fn of(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO }
    }
}

impl Fault for Latency {
    fn step(&self, flow: &mut Flow, _piece: &[u8]) -> Step {
        let swing = self.jitter.mul_f64(2.0 * flow.rng.f64());
        Step::At(flow.now + (self.delay + swing).saturating_sub(self.jitter))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latency:{:?}", self.delay)?;
        if self.jitter.is_zero() { Ok(()) } else { write!(f, ",jitter={:?}", self.jitter) }
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let values = spec::values(value, &["jitter"])?;
    let jitter = values.get("jitter").map_or(Ok(Duration::ZERO), spec::duration)?;
    Ok(Arc::new(Latency { delay: spec::duration(values.first)?, jitter }))
}
