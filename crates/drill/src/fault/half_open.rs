//! A process that hangs with its port open.

use crate::fault::{Accept, Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

/// New connections are accepted, and neither read nor written until the fault is over; open
/// ones go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct HalfOpen;

impl Fault for HalfOpen {
    fn accept(&self) -> Accept {
        Accept::Hold
    }
}

impl fmt::Display for HalfOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half-open")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(HalfOpen))
}
