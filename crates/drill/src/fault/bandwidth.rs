//! A narrow line.

use crate::fault::{Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

/// Each connection's answers come at no more than so many bytes per second.
#[derive(Debug, Clone, Copy)]
pub struct Bandwidth {
    /// How many.
    pub bytes_per_s: NonZero<u64>,
}

impl Fault for Bandwidth {
    fn step(&self, flow: &mut Flow, piece: &[u8]) -> Step {
        let takes = Duration::from_secs_f64(piece.len() as f64 / self.bytes_per_s.get() as f64);
        Step::At(flow.due.max(flow.now) + takes)
    }

    /// A fiftieth of a second's worth, so that the flow is steady.
    fn piece_limit(&self) -> usize {
        usize::try_from(self.bytes_per_s.get() / 50).unwrap_or(usize::MAX).max(1)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bytes_per_s.get();
        if rate.is_multiple_of(1_000) {
            return write!(f, "bandwidth:{}k", rate / 1_000);
        }
        write!(f, "bandwidth:{rate}")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let bytes_per_s = NonZero::new(spec::bytes(value)?).ok_or("must be above 0")?;
    Ok(Arc::new(Bandwidth { bytes_per_s }))
}
