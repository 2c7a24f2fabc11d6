//! The one place where time is read.
//!
//! Everything that judges takes `now` as a parameter; only the edges (a task that
//! measures, a line that is logged) call these functions.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Monotonic time; virtual where a test has paused the runtime's clock.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall-clock time: for people and logs, never for measuring.
#[expect(clippy::disallowed_methods, reason = "this is the place the ban points to")]
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since this process first asked, never zero: what atomics store.
#[must_use]
pub fn millis(at: Instant) -> u64 {
    u64::try_from(since_anchor(at).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Nanoseconds since this process first asked.
#[must_use]
pub fn nanos(at: Instant) -> u64 {
    u64::try_from(since_anchor(at).as_nanos()).unwrap_or(u64::MAX)
}

fn since_anchor(at: Instant) -> Duration {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    at.saturating_duration_since(*ANCHOR.get_or_init(now))
}

/// Milliseconds since the Unix epoch, for people and machines that compare hosts.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
