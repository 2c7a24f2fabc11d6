//! A disk that is busy: a file without a name is written and synced, again and again.

use crate::fault::guard::disk_full::{directory, nameless};
use crate::fault::guard::process::Process;
use crate::fault::guard::{Harm, disk_full};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Written before each sync.
const PIECE: usize = 1 << 20;
/// The file is written over and over within this size.
const SIZE: u64 = 64 << 20;

struct Writes(Arc<AtomicBool>);

impl Harm for Writes {}

impl Drop for Writes {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

pub(super) fn check(value: &str) -> Result<(), String> {
    directory(value).map(drop)
}

pub(super) fn begin(value: &str, _: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    disk_full::directory(value)?;
    let file = File::from(nameless(value)?);
    let over = Arc::new(AtomicBool::new(false));
    let writes = Writes(over.clone());
    // A thread of its own: a sync may take long, and the guard must hear its pipe end.
    let write = move || {
        let piece = vec![1; PIECE];
        let mut at = 0;
        while !over.load(Relaxed) {
            if file.write_all_at(&piece, at).and_then(|()| file.sync_data()).is_err() {
                // A full disk ends it.
                return;
            }
            at = (at + PIECE as u64) % SIZE;
        }
    };
    std::thread::Builder::new().spawn(write).map_err(|e| format!("no thread: {e}"))?;
    Ok(Box::new(writes))
}
