//! Processors that are busy with something else.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Busy(Arc<AtomicBool>);

impl Harm for Busy {}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn threads(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(threads @ 1..=256) => Ok(threads),
        _ => Err(format!("`{value}`: how many threads, from 1 to 256")),
    }
}

pub(super) fn check(value: &str) -> Result<(), String> {
    threads(value).map(drop)
}

pub(super) fn begin(value: &str, _: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    let over = Arc::new(AtomicBool::new(false));
    let busy = Busy(over.clone());
    for _ in 0..threads(value)? {
        let over = over.clone();
        let spin = move || {
            while !over.load(Relaxed) {
                std::hint::spin_loop();
            }
        };
        std::thread::Builder::new().spawn(spin).map_err(|e| format!("no thread: {e}"))?;
    }
    Ok(Box::new(busy))
}
