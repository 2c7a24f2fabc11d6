//! Checkpoints on disk: which there are, whether they are still being written, and whether
//! they are as they were.
//!
//! ```text
//!   seen ── nothing written for `quiet`, and the job has moved since ──► hashed: counts
//!                                                                         │ before each start
//!                                              not as it was: left out ◄──┴──► go on from it
//! ```
//! Blocking; called where that is allowed.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files of one checkpoint at most: sharded ones of large models have some thousands.
const FILES: usize = 100_000;
/// Directories within each other.
const DEPTH: usize = 16;
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// One file as the system shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Path within the checkpoint.
    pub(super) path: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    /// When it was last written, in nanoseconds since the Unix epoch.
    pub(super) written_ns: u64,
}

/// A checkpoint as the system shows it: all its files, in order.
pub(super) type Look = Vec<Shown>;

/// A checkpoint that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Its name within the directory.
    pub(super) name: String,
    /// When it was last written to, in milliseconds since the Unix epoch.
    pub(super) written_ms: u64,
    /// Its files with the SHA-256 of each, in hexadecimal.
    pub(super) files: Vec<(Shown, String)>,
}

impl Manifest {
    /// Reads and hashes a checkpoint.
    ///
    /// # Errors
    /// When it cannot be read, or changes meanwhile.
    pub(super) fn make(dir: &Path, name: &str) -> io::Result<Self> {
        let at = dir.join(name);
        let before = look(&at)?;
        let mut files = Vec::new();
        for shown in &before {
            files.push((shown.clone(), hash(&at.join(&shown.path))?));
        }
        if look(&at)? != before {
            return Err(io::Error::other("it is still being written"));
        }
        Ok(Self { name: name.to_owned(), written_ms: written_ms(&before), files })
    }

    /// Whether all that was written is there as it was.
    ///
    /// # Errors
    /// Says what is not.
    pub(super) fn verify(&self, dir: &Path) -> Result<(), String> {
        let at = dir.join(&self.name);
        let there = look(&at).map_err(|error| error.to_string())?;
        if there.len() != self.files.len() {
            return Err(format!("has {} files instead of {}", there.len(), self.files.len()));
        }
        for (shown, right) in &self.files {
            let path = at.join(&shown.path);
            let is = hash(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if is != *right {
                return Err(format!("{} is not as it was written", path.display()));
            }
        }
        Ok(())
    }
}

/// When the newest of its files was written.
#[must_use]
pub(super) fn written_ms(look: &Look) -> u64 {
    look.iter().map(|shown| shown.written_ns / 1_000_000).max().unwrap_or(0)
}

/// The files of a checkpoint, which is a directory or a file.
///
/// # Errors
/// When it cannot be read, or is too much.
pub(super) fn look(at: &Path) -> io::Result<Look> {
    let mut found = Vec::new();
    walk(at, Path::new(""), 0, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(root: &Path, below: &Path, depth: usize, found: &mut Look) -> io::Result<()> {
    if depth > DEPTH || found.len() >= FILES {
        return Err(io::Error::other(format!("more than {FILES} files or {DEPTH} levels")));
    }
    // `join("")` would turn a file's path into that of a directory.
    let at = if below.as_os_str().is_empty() { root.to_owned() } else { root.join(below) };
    let meta = fs::metadata(&at)?;
    if !meta.is_dir() {
        let written = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_ns = u64::try_from(written.as_nanos()).unwrap_or(u64::MAX);
        found.push(Shown { path: below.to_owned(), bytes: meta.len(), written_ns });
        return Ok(());
    }
    for entry in fs::read_dir(&at)? {
        walk(root, &below.join(entry?.file_name()), depth + 1, found)?;
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<String> {
    // A file's own path has nothing below it, see `walk`.
    let text = path.to_string_lossy();
    let mut file = fs::File::open(text.trim_end_matches('/'))?;
    let (mut context, mut piece) = (Context::new(&SHA256), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => context.update(&piece[..read]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names that a pattern fits, by step, oldest first. A directory that is not there yet
/// has none.
#[must_use]
pub(super) fn names(dir: &Path, pattern: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut all: Vec<String> = names.filter(|name| fits(pattern, name)).collect();
    all.sort_by(|a, b| order(a).cmp(&order(b)));
    all
}

/// By the number at the end of its name, then by the name.
#[must_use]
pub(super) fn order(name: &str) -> (u64, &str) {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (name.get(rest.len()..).and_then(|digits| digits.parse().ok()).unwrap_or(0), name)
}

/// Whether a name fits a pattern in which `*` stands for any text.
#[must_use]
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    name.len() >= last.len() && name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_step() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["step-9", "step-10", "step-2", "tmp-3", "step-"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(names(dir.path(), "step-*"), ["step-", "step-2", "step-9", "step-10"]);
        assert!(names(&dir.path().join("none"), "*").is_empty());
        for (pattern, name, fit) in [
            ("*", "", true),
            ("a", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "ab", false),
            ("ab*b", "ab", false),
            ("*-*.pt", "step-4.pt", true),
            ("*-*.pt", "step4.pt", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_not_as_it_was_shows() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("step-1/shards");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("0"), "weights").unwrap();
        fs::write(dir.path().join("step-1/done"), "").unwrap();
        fs::write(dir.path().join("step-2"), "one file").unwrap();
        let one = Manifest::make(dir.path(), "step-1").unwrap();
        let two = Manifest::make(dir.path(), "step-2").unwrap();
        assert_eq!((one.files.len(), two.files.len()), (2, 1));
        assert_eq!((one.verify(dir.path()), two.verify(dir.path())), (Ok(()), Ok(())));
        fs::write(at.join("0"), "weighty").unwrap();
        assert!(one.verify(dir.path()).unwrap_err().contains("not as it was"));
        fs::remove_file(at.join("0")).unwrap();
        assert!(one.verify(dir.path()).unwrap_err().contains("1 files instead of 2"));
        fs::write(dir.path().join("step-2"), "two").unwrap();
        assert!(two.verify(dir.path()).is_err());
    }
}
