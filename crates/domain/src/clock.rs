//! The one place where time is read.
//!
//! Everything that judges takes `now` as a parameter; only the edges (a task that
//! measures, a line that is logged) call these functions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// Monotonic time; virtual where a test has paused the runtime's clock.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall-clock time: for people and logs, never for measuring. It may step at any moment.
#[expect(clippy::disallowed_methods, reason = "this is the place the ban points to")]
#[must_use]
pub fn wall() -> SystemTime {
    let now = SystemTime::now();
    match STEP_MS.load(Relaxed) {
        0 => Some(now),
        ahead if ahead > 0 => now.checked_add(Duration::from_millis(ahead.unsigned_abs())),
        behind => now.checked_sub(Duration::from_millis(behind.unsigned_abs())),
    }
    .unwrap_or(now)
}

/// How far the wall clock of this process is ahead of the system's: a drill's doing.
static STEP_MS: AtomicI64 = AtomicI64::new(0);

/// Keeps the wall clock of this process wrong until it is dropped.
#[derive(Debug)]
pub struct WallStep(());

/// Puts the wall clock of this process so many milliseconds ahead, or behind where negative.
/// `None` when it is wrong already.
#[must_use]
pub fn step_wall(ms: i64) -> Option<WallStep> {
    STEP_MS.compare_exchange(0, ms, Relaxed, Relaxed).is_ok().then_some(WallStep(()))
}

impl Drop for WallStep {
    fn drop(&mut self) {
        STEP_MS.store(0, Relaxed);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_wrong_while_somebody_wants_it_so() {
        const HOUR: u64 = 3_600_000;
        let before = unix_millis();
        let step = step_wall(-(HOUR as i64)).unwrap();
        assert!(unix_millis() < before);
        assert!(step_wall(1).is_none());
        drop(step);
        assert!(unix_millis() >= before);
        let ahead = step_wall(HOUR as i64).unwrap();
        assert!(unix_millis() >= before + HOUR);
        drop(ahead);
    }
}
