//! A process that dies without a word (SIGKILL).

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;
use rustix::process::Signal;

struct Killed;

impl Harm for Killed {}

pub(super) fn check(value: &str) -> Result<(), String> {
    spec::nothing(value)
}

pub(super) fn begin(_: &str, processes: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    for process in &processes {
        process.signal(Signal::KILL)?;
    }
    Ok(Box::new(Killed))
}
