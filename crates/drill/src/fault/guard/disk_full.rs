//! A disk that is full: a file without a name, which is gone with the process that has it.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fstatvfs, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bytes taken at once.
const STEP: u64 = 16 << 20;
/// Bytes that stay free where nothing else is said: what runs must be able to say so.
const RESERVE: u64 = 64_000_000;

struct Full(#[expect(dead_code, reason = "what is held is what counts")] OwnedFd);

impl Harm for Full {}

/// Directory, what stays free, and what is taken at most.
fn values(value: &str) -> Result<(&str, u64, u64), String> {
    let values = spec::values(value, &["reserve", "size"])?;
    let reserve = values.get("reserve").map_or(Ok(RESERVE), spec::bytes)?;
    let size = values.get("size").map_or(Ok(u64::MAX), spec::bytes)?;
    Ok((directory(values.first)?, reserve, size))
}

/// A directory that is there.
pub(super) fn directory(text: &str) -> Result<&str, String> {
    match Path::new(text).is_dir() {
        true => Ok(text),
        false => Err(format!("`{text}` is no directory on this host")),
    }
}

/// A file without a name in a directory.
pub(super) fn nameless(directory: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(directory, flags, Mode::RUSR | Mode::WUSR).map_err(|error| {
        format!("{directory}: no file without a name can be had there ({error}); take another directory of that disk")
    })
}

pub(super) fn check(value: &str) -> Result<(), String> {
    values(value).map(drop)
}

pub(super) fn begin(value: &str, _: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    let (directory, reserve, size) = values(value)?;
    let file = nameless(directory)?;
    let mut taken = 0;
    loop {
        let disk = fstatvfs(&file).map_err(|error| format!("{directory}: {error}"))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(reserve);
        let more = free.min(STEP).min(size.saturating_sub(taken));
        if more < disk.f_frsize {
            return Ok(Box::new(Full(file)));
        }
        match fallocate(&file, FallocateFlags::empty(), taken, more) {
            Ok(()) => taken += more,
            // Others write, too.
            Err(Errno::NOSPC) => return Ok(Box::new(Full(file))),
            Err(error) => return Err(format!("{directory}: {error}")),
        }
    }
}
