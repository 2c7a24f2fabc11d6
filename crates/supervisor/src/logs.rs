//! Reads back what the guards have written, for `evenkeel logs NAME [--follow] [-n N]`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::rotate::rotated;

/// How much is read at a time.
const BLOCK: usize = 64 << 10;
/// A longer line is shown in parts.
const LONGEST_LINE: usize = 64 << 10;
/// Files looked for; more are never kept than this.
const MOST_FILES: u32 = 1000;
/// What one poll of a follower returns at most, in bytes: one that has fallen behind
/// catches up in steps rather than in memory.
const POLL_BYTES: u64 = 1 << 20;

/// The log file of a replica.
#[must_use]
pub fn log_path(log_dir: &Path, replica: &str) -> PathBuf {
    log_dir.join(format!("{replica}.log"))
}

/// Deletes the rotated files of all logs in a directory; what is being written stays. Gives
/// how many bytes that were.
///
/// # Errors
/// When the directory cannot be read.
pub fn prune(log_dir: &Path) -> io::Result<u64> {
    let mut freed = 0;
    for entry in std::fs::read_dir(log_dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.rsplit_once(".log.").map(|(_, number)| number.parse::<u32>());
        if !matches!(number, Some(Ok(_))) {
            continue;
        }
        let size = std::fs::metadata(&path).map_or(0, |data| data.len());
        if std::fs::remove_file(&path).is_ok() {
            freed += size;
        }
    }
    Ok(freed)
}

/// The last `n` lines of a log, across its rotated files, oldest first. Memory is
/// bounded by the lines returned; a line of more than 64 KiB is cut to its end.
///
/// # Errors
/// `NotFound` if there is no log at all; whatever the system says.
pub fn tail(path: &Path, n: usize) -> io::Result<Vec<String>> {
    let mut lines = VecDeque::new();
    for number in 0..MOST_FILES {
        if lines.len() >= n && number > 0 {
            break;
        }
        match File::open(rotated(path, number)) {
            Ok(file) => prepend_last(&file, n, &mut lines)?,
            // Just being rotated: the newest may be missing for a moment.
            Err(error) if error.kind() == ErrorKind::NotFound && number == 0 => {
                if !rotated(path, 1).exists() {
                    return Err(error);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(lines.into())
}

/// Puts a file's last lines before `lines`, until there are `n`. Reads backwards.
fn prepend_last(file: &File, n: usize, lines: &mut VecDeque<String>) -> io::Result<()> {
    let mut at = file.metadata()?.len();
    // What has been read of the line whose beginning is still to come.
    let mut rest: Vec<u8> = Vec::new();
    let mut newest = true;
    while at > 0 && lines.len() < n {
        let size = at.min(BLOCK as u64);
        at -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact_at(&mut block, at)?;
        if newest && block.last() == Some(&b'\n') {
            block.pop();
        }
        newest = false;
        let mut parts = block.rsplit(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let mut line = part.to_vec();
            line.append(&mut rest);
            line.drain(..line.len().saturating_sub(LONGEST_LINE));
            if parts.peek().is_none() && at > 0 {
                rest = line;
            } else if lines.len() < n {
                lines.push_front(text(&line));
            }
        }
    }
    Ok(())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// Follows a log through its rotations.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    open: Option<File>,
    partial: Vec<u8>,
}

impl Follower {
    /// Follows from the end of what is there now. The file need not exist yet.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut open = open(path)?;
        if let Some(file) = &mut open {
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Self { path: path.to_owned(), open, partial: Vec::new() })
    }

    /// The whole lines that have been added since the last call; at most some 1 MiB,
    /// so call again at once while it returns any.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn poll(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        // The file in hand may have been rotated away: looked up before it is read to
        // its end, so that nothing is added to it in between.
        let current = open(&self.path)?;
        let read = self.read(&mut lines)?;
        if read < POLL_BYTES && current.is_some() && !same(self.open.as_ref(), current.as_ref()) {
            self.flush(&mut lines);
            self.open = self.next(current)?;
            self.read(&mut lines)?;
        }
        Ok(lines)
    }

    /// The file that follows the one in hand, which may have been rotated twice.
    fn next(&self, current: Option<File>) -> io::Result<Option<File>> {
        let mut following = current;
        for number in 1..MOST_FILES {
            let Some(older) = open(&rotated(&self.path, number))? else { break };
            if same(self.open.as_ref(), Some(&older)) {
                return Ok(following);
            }
            following = Some(older);
        }
        // The one in hand is gone: nothing tells where it was, so the newest is next.
        open(&self.path)
    }

    fn read(&mut self, lines: &mut Vec<String>) -> io::Result<u64> {
        let Some(file) = &mut self.open else { return Ok(0) };
        let mut added = Vec::new();
        let read = file.take(POLL_BYTES).read_to_end(&mut added)? as u64;
        self.partial.append(&mut added);
        let mut parts = self.partial.split(|&byte| byte == b'\n');
        let rest = parts.next_back().unwrap_or_default().to_vec();
        lines.extend(parts.map(text));
        self.partial = rest;
        if self.partial.len() > LONGEST_LINE {
            self.flush(lines);
        }
        Ok(read)
    }

    fn flush(&mut self, lines: &mut Vec<String>) {
        if !self.partial.is_empty() {
            lines.push(text(&std::mem::take(&mut self.partial)));
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same(a: Option<&File>, b: Option<&File>) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    match (a.and_then(identity), b.and_then(identity)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::RotatingFile;
    use evenkeel_domain::orchestrator::LogSettings;

    #[test]
    fn tail_crosses_files_and_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = log_path(dir.path(), "a");
        assert_eq!(tail(&path, 3).unwrap_err().kind(), ErrorKind::NotFound);
        let settings = LogSettings { max_bytes: 100_000, files: 4 };
        let mut file = RotatingFile::new(path.clone(), settings);
        let line = |i: usize| format!("{i} {}", "x".repeat(i % 700));
        for i in 0..1500 {
            file.write(format!("{}\n", line(i)).as_bytes()).unwrap();
        }
        assert!(rotated(&path, 3).exists());
        for n in [0, 1, 2, 150, 300, 700] {
            let want: Vec<String> = (1500 - n..1500).map(line).collect();
            assert_eq!(tail(&path, n).unwrap(), want, "last {n}");
        }
        let all = tail(&path, 10_000).unwrap();
        assert!(all.len() < 1500 && *all.last().unwrap() == line(1499));
    }

    #[test]
    fn tail_keeps_empty_and_unfinished_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\n\nthree\r\nfour").unwrap();
        assert_eq!(tail(&path, 9).unwrap(), ["one", "", "three", "four"]);
        std::fs::write(&path, format!("{}end\n", "y".repeat(300_000))).unwrap();
        let lines = tail(&path, 2).unwrap();
        assert_eq!((lines.len(), lines[0].len()), (1, LONGEST_LINE));
        assert!(lines[0].ends_with("yend"));
    }

    #[test]
    fn a_follower_misses_nothing_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = RotatingFile::new(path.clone(), LogSettings { max_bytes: 50, files: 6 });
        let mut follower = Follower::new(&path).unwrap();
        let mut seen = Vec::new();
        for i in 0..200 {
            file.write(format!("line {i}\n").as_bytes()).unwrap();
            // Now and then it comes late, when the log has been rotated twice.
            if i % 9 == 0 {
                while let Ok(lines) = follower.poll()
                    && !lines.is_empty()
                {
                    seen.extend(lines);
                }
            }
        }
        while let Ok(lines) = follower.poll()
            && !lines.is_empty()
        {
            seen.extend(lines);
        }
        assert_eq!(seen, (0..200).map(|i| format!("line {i}")).collect::<Vec<_>>());
    }
}
