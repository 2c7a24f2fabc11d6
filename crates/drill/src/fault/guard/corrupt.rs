//! A damaged copy of a file, for what must find damage: a check, a restore, a verification.
//!
//! The file itself is only read.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The largest file that is copied.
const LARGEST: u64 = 8 << 30;
/// One bit is turned in each so many bytes, and in the first.
const EVERY: u64 = 1 << 20;

struct Damaged(PathBuf);

impl Harm for Damaged {}

impl Drop for Damaged {
    fn drop(&mut self) {
        // Somebody else may have taken it away.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn values(value: &str) -> Result<(PathBuf, PathBuf), String> {
    let values = spec::values(value, &["copy"])?;
    let copy = values.get("copy").ok_or("`copy=PATH` says where the damaged copy shall lie")?;
    let size = std::fs::metadata(values.first).map_err(|e| format!("{}: {e}", values.first))?;
    if !size.is_file() || size.len() == 0 || size.len() > LARGEST {
        return Err(format!("{}: a file of 1 byte to 8 GiB is needed", values.first));
    }
    Ok((values.first.into(), copy.into()))
}

pub(super) fn check(value: &str) -> Result<(), String> {
    values(value).map(drop)
}

pub(super) fn begin(value: &str, _: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    let (from, copy) = values(value)?;
    let mut to = OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .open(&copy)
        .map_err(|error| format!("{}: {error}; the copy must be a new file", copy.display()))?;
    // From here on it is ours to remove.
    let damaged = Damaged(copy.clone());
    let bad = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let mut source = File::open(&from).map_err(|e| bad(&from, e))?;
    let length = io::copy(&mut source, &mut to).map_err(|e| bad(&copy, e))?;
    let mut at = 0;
    while at < length {
        let mut byte = [0];
        to.read_exact_at(&mut byte, at).map_err(|e| bad(&copy, e))?;
        to.write_all_at(&[byte[0] ^ 1], at).map_err(|e| bad(&copy, e))?;
        at += EVERY;
    }
    Ok(Box::new(damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_differs_is_gone_after_and_takes_nobody_s_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, copy) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&from, b"hello").unwrap();
        let value = format!("{},copy={}", from.display(), copy.display());
        let harm = begin(&value, Vec::new()).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), b"iello");
        assert!(begin(&value, Vec::new()).err().unwrap().contains("must be a new file"));
        drop(harm);
        assert!(!copy.exists());
        assert_eq!(std::fs::read(&from).unwrap(), b"hello");
    }
}
