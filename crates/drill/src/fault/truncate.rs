//! An answer shorter than it says.

use crate::fault::{End, Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;

/// The body of each HTTP/1 answer ends after so many bytes, and its connection with it; the
/// head, with its `content-length`, stays. Answers begun before the fault go on.
#[derive(Debug, Clone, Copy)]
pub struct Truncate {
    /// Bytes of body that pass. Shorter bodies pass whole.
    pub bytes: u64,
}

impl Fault for Truncate {
    fn step(&self, flow: &mut Flow, piece: &[u8]) -> Step {
        let Some((head, before)) = flow.follow(piece) else { return Step::Pass };
        let left = self.bytes.saturating_sub(before);
        match usize::try_from(left) {
            Ok(left) if left < piece.len() - head => Step::Cut(head + left, End::Fin),
            _ => Step::Pass,
        }
    }
}

impl fmt::Display for Truncate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "truncate:{}", self.bytes)
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    Ok(Arc::new(Truncate { bytes: spec::bytes(value)? }))
}
