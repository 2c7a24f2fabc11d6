//! A process that stands still with its connections open (SIGSTOP), and all it has started.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;
use rustix::process::Signal;

struct Stopped(Vec<Process>);

impl Harm for Stopped {}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            // It was stopped by the same right.
            let _ = process.signal(Signal::CONT);
        }
    }
}

pub(super) fn check(value: &str) -> Result<(), String> {
    spec::nothing(value)
}

pub(super) fn begin(_: &str, processes: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    // Made before the first signal, so that what was stopped goes on when a later one fails.
    let stopped = Stopped(processes.into_iter().flat_map(Process::tree).collect());
    for process in &stopped.0 {
        process.signal(Signal::STOP)?;
    }
    Ok(Box::new(stopped))
}
