//! The command's output on its way to the log file. It never waits for a disk.
//!
//! ```text
//!   command ══ one pipe ══► reader thread ──bounded──► writer thread ──► rotating file
//!   (stdout and stderr)        │  full: drop, count        full disk: drop, count
//!                              └─► last lines, for the status
//! ```
//!
//! Both streams share one pipe: so the order of the lines is the order in which they
//! were written, as on a terminal. The reader always reads, so the command never
//! blocks on output; a disk that hangs or is full costs log lines, which are counted,
//! and the log says how many once it can be written again.

use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::rotate::RotatingFile;

/// A line longer than this is written in parts, so that memory stays bounded.
const CHUNK: usize = 64 << 10;
/// Chunks on the way to the disk: 64 of 64 KiB are 4 MiB for one guard, some seconds
/// of a disk that hangs under a talkative server.
const QUEUE: usize = 64;
/// What the status shows of the end of the output: enough for an error and its cause.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 300;
/// How often a disk that was full is tried again while the command is silent.
const RETRY: Duration = Duration::from_secs(2);

/// The last lines of output, shared with whoever reports.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<TailLines>>);

#[derive(Debug, Default)]
struct TailLines {
    lines: VecDeque<String>,
    /// Counts lines ever seen: tells a new line from an old one.
    seen: u64,
}

impl Tail {
    pub(super) fn lines(&self) -> Vec<String> {
        self.with(|tail| tail.lines.iter().cloned().collect())
    }

    /// The last line and its number.
    pub(super) fn last(&self) -> Option<(u64, String)> {
        self.with(|tail| Some((tail.seen, tail.lines.back()?.clone())))
    }

    fn add(&self, chunk: &[u8]) {
        self.with(|tail| {
            for line in chunk.split(|byte| matches!(byte, b'\n' | b'\r')) {
                let line = line.get(..TAIL_LINE_BYTES).unwrap_or(line).trim_ascii_end();
                if line.is_empty() {
                    continue;
                }
                if tail.lines.len() == TAIL_LINES {
                    tail.lines.pop_front();
                }
                tail.lines.push_back(String::from_utf8_lossy(line).into_owned());
                tail.seen += 1;
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut TailLines) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What goes to the writer.
enum Item {
    Output(Vec<u8>),
    Mark(String),
    /// The queue had been full: so much did not make it.
    Missed(Dropped),
}

/// What could not be written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    lines: u64,
    bytes: u64,
}

impl Dropped {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let ends = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.lines += ends + u64::from(bytes.last().is_some_and(|&byte| byte != b'\n'));
    }

    fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// The way to the log file.
pub(super) struct Log {
    queue: SyncSender<Item>,
    done: Receiver<()>,
}

impl Log {
    /// Starts the writer thread.
    pub(super) fn start(file: RotatingFile) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let (tell, done) = sync_channel(1);
        thread::Builder::new().name("log".into()).spawn(move || {
            Writer { file, dropped: Dropped::default(), why: String::new() }.run(&items);
            let _ = tell.send(());
        })?;
        Ok(Self { queue, done })
    }

    /// Adds a line of our own. Lost when the disk hangs: it is not worth waiting for.
    pub(super) fn mark(&self, line: String) {
        let _ = self.queue.try_send(Item::Mark(line));
    }

    /// Starts the thread that reads the command's output to its end.
    pub(super) fn read(&self, pipe: PipeReader, tail: Tail) -> std::io::Result<Receiver<()>> {
        let (tell, done) = sync_channel(1);
        let queue = self.queue.clone();
        thread::Builder::new().name("output".into()).spawn(move || {
            Reader { queue, tail, missed: Dropped::default() }.run(pipe);
            let _ = tell.send(());
        })?;
        Ok(done)
    }

    /// Waits until all is written, but not longer than `patience`.
    pub(super) fn finish(self, patience: Duration) {
        drop(self.queue);
        let _ = self.done.recv_timeout(patience);
    }
}

struct Reader {
    queue: SyncSender<Item>,
    tail: Tail,
    missed: Dropped,
}

impl Reader {
    fn run(mut self, mut pipe: PipeReader) {
        let mut buffer = vec![0; CHUNK];
        let mut held = 0;
        loop {
            let Some(room) = buffer.get_mut(held..) else { return };
            let read = match pipe.read(room) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            held += read;
            let filled = buffer.get(..held).unwrap_or_default();
            // A carriage return ends what a progress bar has to say for the moment.
            let end = filled.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
            let whole = end.map_or(if held == CHUNK { CHUNK } else { 0 }, |at| at + 1);
            self.pass(filled.get(..whole).unwrap_or_default());
            buffer.copy_within(whole..held, 0);
            held -= whole;
        }
        self.pass(buffer.get(..held).unwrap_or_default());
        self.tell_missed();
    }

    fn pass(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        self.tail.add(chunk);
        if self.tell_missed() {
            if let Err(TrySendError::Full(_)) = self.queue.try_send(Item::Output(chunk.to_vec())) {
                self.missed.add(chunk);
            }
        } else {
            self.missed.add(chunk);
        }
    }

    /// Whether nothing is left to tell.
    fn tell_missed(&mut self) -> bool {
        if self.missed != Dropped::default()
            && self.queue.try_send(Item::Missed(self.missed)).is_ok()
        {
            self.missed = Dropped::default();
        }
        self.missed == Dropped::default()
    }
}

struct Writer {
    file: RotatingFile,
    dropped: Dropped,
    why: String,
}

impl Writer {
    fn run(mut self, items: &Receiver<Item>) {
        loop {
            match items.recv_timeout(RETRY) {
                Ok(Item::Output(chunk)) => self.output(&chunk),
                Ok(Item::Mark(line)) => {
                    if self.own_up() {
                        let _ = self.file.mark(&line);
                    }
                }
                Ok(Item::Missed(missed)) => {
                    self.dropped.merge(missed);
                    "the disk was too slow".clone_into(&mut self.why);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.own_up();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.own_up();
    }

    fn output(&mut self, chunk: &[u8]) {
        if !self.own_up() {
            self.dropped.add(chunk);
        } else if let Err((rest, error)) = self.file.write(chunk) {
            self.dropped.add(rest);
            self.why = error.to_string();
        }
    }

    /// Says how much was dropped, if anything was. Whether the log is writable.
    fn own_up(&mut self) -> bool {
        if self.dropped == Dropped::default() {
            return true;
        }
        let Dropped { lines, bytes } = self.dropped;
        let line = format!("--- {lines} lines ({bytes} bytes) dropped: {} ---", self.why);
        let written = self.file.mark(&line).is_ok();
        if written {
            self.dropped = Dropped::default();
        }
        written
    }
}
