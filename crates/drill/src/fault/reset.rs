//! A connection that is torn down.

use crate::fault::{Accept, End, Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;

/// Connections end with RST after so many bytes, as of a host that came up anew.
/// With 0, new connections end when they are accepted, and open ones at once.
#[derive(Debug, Clone, Copy)]
pub struct ResetAfter {
    /// Bytes of answers, heads included, counted on each connection since the fault was set.
    pub bytes: u64,
}

impl Fault for ResetAfter {
    fn accept(&self) -> Accept {
        if self.bytes == 0 { Accept::End(End::Reset) } else { Accept::Forward }
    }

    fn running(&self) -> Option<End> {
        (self.bytes == 0).then_some(End::Reset)
    }

    fn step(&self, flow: &mut Flow, piece: &[u8]) -> Step {
        let left = self.bytes.saturating_sub(flow.passed);
        match usize::try_from(left) {
            Ok(left) if left <= piece.len() => Step::Cut(left, End::Reset),
            _ => Step::Pass,
        }
    }
}

impl fmt::Display for ResetAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reset:{}", self.bytes)
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    Ok(Arc::new(ResetAfter { bytes: spec::bytes(value)? }))
}
