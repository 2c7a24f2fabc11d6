//! All clocks at one moment.

use evenkeel_domain::clock;
use evenkeel_domain::slo::Clocks;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// Names this start of the machine.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Reads them.
pub(super) fn read() -> Clocks {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let read = std::fs::read_to_string(BOOT).unwrap_or_default();
        // Without a name nothing is known to be of the same start: a name of its own has the
        // next process go by the wall clock.
        let own = || format!("process {} at {}", std::process::id(), clock::unix_millis());
        Some(read.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(own)
    });
    // Goes on while the machine sleeps, and nobody can set it.
    let since = clock_gettime(ClockId::Boottime);
    let ms = |n: i64, per: i64| u64::try_from(n / per).unwrap_or(0);
    let boot_ms = ms(since.tv_sec, 1).saturating_mul(1000) + ms(since.tv_nsec, 1_000_000);
    Clocks { boot: name.clone(), boot_ms, wall_ms: clock::unix_millis() }
}
