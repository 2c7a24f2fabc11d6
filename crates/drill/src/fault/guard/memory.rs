//! Memory that something else has taken.
//!
//! Never so much that the machine runs out: what is left must be 512 MiB, and the guard is the
//! first to be killed where it is not.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;

/// Bytes that stay free for everything else.
const LEFT: u64 = 512 << 20;

struct Taken(#[expect(dead_code, reason = "what is held is what counts")] Vec<u8>);

impl Harm for Taken {}

fn size(value: &str) -> Result<u64, String> {
    match spec::bytes(value)? {
        0 => Err("above 0".into()),
        size => Ok(size),
    }
}

pub(super) fn check(value: &str) -> Result<(), String> {
    size(value).map(drop)
}

pub(super) fn begin(value: &str, _: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    let size = size(value)?;
    let free = available()?;
    if size.saturating_add(LEFT) > free {
        return Err(format!(
            "{} MB are to be taken and {} MB are free: at least {} MB must stay; take less",
            size / 1_000_000,
            free / 1_000_000,
            LEFT / 1_000_000
        ));
    }
    // Best effort: without it the kernel chooses by size.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    let mut taken = Vec::new();
    taken.try_reserve_exact(size).map_err(|e| e.to_string())?;
    // Not zero: pages that were never written are not there.
    taken.resize(size, 1);
    Ok(Box::new(Taken(taken)))
}

fn available() -> Result<u64, String> {
    let text =
        std::fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kb = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kb.map(|kb| kb * 1024).ok_or_else(|| "/proc/meminfo does not say what is free".into())
}
