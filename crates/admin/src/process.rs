//! What the system says of this process, read at each scrape.

use std::fs;

/// The kernel's unit of CPU time towards programs: 100 a second on every architecture
/// that Rust builds for, whatever its own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of this process; each absent when the system does not tell.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProcessStats {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

/// Reads them from `/proc`.
pub(crate) fn read() -> ProcessStats {
    let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let status = text("status");
    let kib = |key| field(&status, key).map(|n| n * 1024);
    ProcessStats {
        resident_bytes: kib("VmRSS:"),
        virtual_bytes: kib("VmSize:"),
        threads: field(&status, "Threads:"),
        cpu_seconds: cpu_seconds(&text("stat")),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        max_fds: field(&text("limits"), "Max open files"),
    }
}

/// The first number after `key` at a line's beginning.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time. The program's name, in brackets, may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()? + next()?) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 3 0 9";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let stats = read();
        assert!(stats.resident_bytes > Some(1 << 16) && stats.open_fds > Some(2), "{stats:?}");
        assert!(stats.max_fds.is_some() && stats.cpu_seconds.is_some(), "{stats:?}");
    }
}
