//! Faults that Evenkeel is asked for: its clock, its processes changing over.

mod clock;
mod reload;
mod upgrade;

/// What Evenkeel is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A wall clock that is so many milliseconds ahead; behind where negative.
    Clock(i64),
    /// The configuration is read again.
    Reload,
    /// A new gateway takes over.
    Upgrade,
}

impl Asked {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_over_at_once(self) -> bool {
        !matches!(self, Self::Clock(_))
    }
}

/// One of them by name.
#[derive(Debug)]
pub struct AskedEntry {
    /// The name before the colon.
    pub name: &'static str,
    /// An example of the whole.
    pub example: &'static str,
    /// Makes it from what comes after the colon, which may be nothing.
    pub make: fn(&str) -> Result<Asked, String>,
}

/// All of them.
pub const REGISTRY: &[AskedEntry] = &[
    AskedEntry { name: "clock", example: "clock:1h", make: clock::make },
    AskedEntry { name: "reload", example: "reload", make: reload::make },
    AskedEntry { name: "upgrade", example: "upgrade", make: upgrade::make },
];
