//! A log file of bounded size: `chat-1.log` is written, `chat-1.log.1` is the one
//! before it, and so on up to the number that is kept.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use evenkeel_domain::orchestrator::LogSettings;

/// The `n`-th file before the current one; the current one for 0.
pub(crate) fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Writes whole chunks, each to one file. Every error leaves it usable: the next
/// write tries anew, so that a disk that was full for a while costs only that while.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    settings: LogSettings,
    open: Option<(File, u64)>,
    at_line_start: bool,
}

impl RotatingFile {
    pub(crate) fn new(path: PathBuf, settings: LogSettings) -> Self {
        Self { path, settings, open: None, at_line_start: true }
    }

    /// Appends a chunk. On an error, answers with what is left of it unwritten.
    pub(crate) fn write<'a>(&mut self, chunk: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        let mut rest = chunk;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    // The next try opens it anew: it may be another disk by then.
                    self.open = None;
                    return Err((rest, error));
                }
            }
        }
        Ok(())
    }

    /// Appends a line of our own, on a line of its own.
    pub(crate) fn mark(&mut self, line: &str) -> io::Result<()> {
        // Opening looks at the file's last byte, so it comes before the question.
        self.file()?;
        let start = if self.at_line_start { "" } else { "\n" };
        self.write(format!("{start}{line}\n").as_bytes()).map_err(|(_, error)| error)
    }

    fn write_some(&mut self, rest: &[u8]) -> io::Result<usize> {
        let limit = self.settings.max_bytes;
        let (_, size) = self.file()?;
        if *size > 0 && size.saturating_add(rest.len() as u64) > limit {
            self.rotate()?;
        }
        let (file, size) = self.file()?;
        let written = match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        *size += written as u64;
        if let Some(last) = written.checked_sub(1).and_then(|i| rest.get(i)) {
            self.at_line_start = *last == b'\n';
        }
        Ok(written)
    }

    fn file(&mut self) -> io::Result<&mut (File, u64)> {
        if self.open.is_none() {
            self.reopen()?;
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn reopen(&mut self) -> io::Result<()> {
        // Prompts and answers end up in logs: readable by the owner only.
        let file =
            OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(&self.path)?;
        let size = file.metadata()?.len();
        self.at_line_start = ends_a_line(&file, size);
        self.open = Some((file, size));
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        let kept = self.settings.files.max(1);
        if kept == 1 {
            return fs::remove_file(&self.path);
        }
        for n in (0..kept - 1).rev() {
            match fs::rename(rotated(&self.path, n), rotated(&self.path, n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn ends_a_line(file: &File, size: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut last = [b'\n'];
    match size.checked_sub(1).map(|at| file.read_exact_at(&mut last, at)) {
        None | Some(Err(_)) => true,
        Some(Ok(())) => last == *b"\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn keeps_so_many_files_of_such_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = RotatingFile::new(path.clone(), LogSettings { max_bytes: 20, files: 3 });
        for i in 0..10 {
            file.write(format!("line {i:04}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["a.log", "a.log.1", "a.log.2"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 0008\nline 0009\n");
        assert_eq!(fs::read_to_string(rotated(&path, 2)).unwrap(), "line 0004\nline 0005\n");
    }

    #[test]
    fn a_single_file_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = RotatingFile::new(path.clone(), LogSettings { max_bytes: 4, files: 1 });
        file.write(b"abc\n").unwrap();
        file.write(b"def\n").unwrap();
        assert_eq!(names(dir.path()), ["a.log"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "def\n");
    }

    #[test]
    fn a_mark_stands_on_a_line_of_its_own_even_after_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "torn").unwrap();
        let mut file = RotatingFile::new(path.clone(), LogSettings::default());
        file.mark("--- mark").unwrap();
        file.write(b"whole\n").unwrap();
        file.mark("--- mark").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "torn\n--- mark\nwhole\n--- mark\n");
    }

    #[test]
    fn an_error_leaves_it_usable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later").join("a.log");
        let mut file = RotatingFile::new(path.clone(), LogSettings::default());
        assert!(file.write(b"lost\n").is_err());
        fs::create_dir(dir.path().join("later")).unwrap();
        file.write(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
