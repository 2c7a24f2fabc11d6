//! Nobody there.

use crate::fault::{End, Fault, SharedFault};
use std::fmt;
use std::sync::Arc;

/// The port does not listen; it stays ours, and listens again after.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refuse {
    /// Whether open connections are reset as well, as when a process is killed.
    pub running: bool,
}

impl Fault for Refuse {
    fn listens(&self) -> bool {
        false
    }

    fn running(&self) -> Option<End> {
        self.running.then_some(End::Reset)
    }
}

impl fmt::Display for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.running { "refuse:running" } else { "refuse" })
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    match value {
        "" => Ok(Arc::new(Refuse { running: false })),
        "running" => Ok(Arc::new(Refuse { running: true })),
        other => Err(format!("`{other}`: `running` or nothing")),
    }
}
