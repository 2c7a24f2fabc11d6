//! Which start of the keeper this is.

pub use crate::words::Term;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("nodes/epoch")
}

/// The next epoch, written down before it is used. `nonce` tells this start from one that
/// should not have the same.
///
/// # Errors
/// When the file cannot be read or written.
pub fn next_term(state_dir: &Path, nonce: u64) -> io::Result<Term> {
    let epoch = read(state_dir)?.saturating_add(1);
    write(state_dir, epoch)?;
    Ok(Term { epoch, nonce })
}

/// Remembers that a later epoch was seen, so that the next start is above it.
pub(super) fn saw(state_dir: &Path, epoch: u64) -> io::Result<()> {
    if read(state_dir)? < epoch { write(state_dir, epoch) } else { Ok(()) }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}; check path and rights", path.display()))
}

fn read(state_dir: &Path) -> io::Result<u64> {
    let path = path(state_dir);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let text = "holds no number; write one that is higher than all agents have seen";
            named(&path, io::Error::new(ErrorKind::InvalidData, text))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(named(&path, error)),
    }
}

fn write(state_dir: &Path, epoch: u64) -> io::Result<()> {
    let path = path(state_dir);
    let new = path.with_extension("new");
    let written = || {
        fs::create_dir_all(state_dir.join("nodes"))?;
        let mut file = File::create(&new)?;
        file.write_all(epoch.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    written().map_err(|e| named(&path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_rise_also_above_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(next_term(dir.path(), 7).unwrap(), Term { epoch: 1, nonce: 7 });
        assert_eq!(next_term(dir.path(), 8).unwrap().epoch, 2);
        saw(dir.path(), 1).unwrap();
        saw(dir.path(), 40).unwrap();
        assert_eq!(next_term(dir.path(), 8).unwrap().epoch, 41);
        fs::write(path(dir.path()), "many").unwrap();
        assert!(next_term(dir.path(), 8).unwrap_err().to_string().contains("nodes/epoch"));
    }
}
