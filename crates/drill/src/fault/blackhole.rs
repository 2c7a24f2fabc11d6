//! A network that swallows everything.

use crate::fault::{Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;

/// Nothing passes either way, on new connections and in the middle of open ones, until the
/// fault is over; what was withheld then arrives, as TCP has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blackhole;

impl Fault for Blackhole {
    fn withholds(&self, _: bool) -> bool {
        true
    }

    fn step(&self, _flow: &mut Flow, _piece: &[u8]) -> Step {
        Step::Stall
    }
}

impl fmt::Display for Blackhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("blackhole")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Blackhole))
}
