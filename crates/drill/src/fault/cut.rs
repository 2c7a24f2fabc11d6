//! A connection that ends early, in order.

use crate::fault::{Accept, End, Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;

/// Connections end with FIN after so many bytes, as of a process that died.
/// With 0, new connections end when they are accepted, and open ones at once.
#[derive(Debug, Clone, Copy)]
pub struct CutAfter {
    /// Bytes of answers, heads included, counted on each connection since the fault was set.
    pub bytes: u64,
}

impl Fault for CutAfter {
    fn accept(&self) -> Accept {
        if self.bytes == 0 { Accept::End(End::Fin) } else { Accept::Forward }
    }

    fn running(&self) -> Option<End> {
        (self.bytes == 0).then_some(End::Fin)
    }

    fn step(&self, flow: &mut Flow, piece: &[u8]) -> Step {
        let left = self.bytes.saturating_sub(flow.passed);
        match usize::try_from(left) {
            Ok(left) if left <= piece.len() => Step::Cut(left, End::Fin),
            _ => Step::Pass,
        }
    }
}

impl fmt::Display for CutAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut:{}", self.bytes)
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    Ok(Arc::new(CutAfter { bytes: spec::bytes(value)? }))
}
