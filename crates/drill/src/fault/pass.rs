//! No fault.

use crate::fault::{Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

/// Everything goes through as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass;

impl Fault for Pass {}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pass")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Pass))
}
