//! A process that gets a share of its time: stopped for the rest of each tenth of a second.
//!
//! Needs no cgroup and no root, and slows what waits for a GPU as well.

use crate::fault::guard::Harm;
use crate::fault::guard::process::Process;
use crate::fault::spec;
use rustix::process::Signal;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(100);

struct Slowed {
    processes: Vec<Process>,
    /// Stopped for so much of each period.
    share: f64,
    stopped: bool,
}

impl Slowed {
    fn all(&self, signal: Signal) -> Result<(), String> {
        self.processes.iter().try_for_each(|process| process.signal(signal))
    }
}

impl Harm for Slowed {
    fn work(&mut self) -> Result<Option<Duration>, String> {
        self.stopped = !self.stopped;
        let (signal, share) = match self.stopped {
            true => (Signal::STOP, self.share),
            false => (Signal::CONT, 1.0 - self.share),
        };
        self.all(signal)?;
        Ok(Some(PERIOD.mul_f64(share)))
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        for process in &self.processes {
            // It was stopped by the same right.
            let _ = process.signal(Signal::CONT);
        }
    }
}

fn share(value: &str) -> Result<f64, String> {
    let share = spec::share(value)?;
    match (0.01..=0.99).contains(&share) {
        true => Ok(share),
        false => Err(format!("`{value}`: from 1% to 99%; `stop` takes all of it")),
    }
}

pub(super) fn check(value: &str) -> Result<(), String> {
    share(value).map(drop)
}

pub(super) fn begin(value: &str, processes: Vec<Process>) -> Result<Box<dyn Harm>, String> {
    let processes = processes.into_iter().flat_map(Process::tree).collect();
    Ok(Box::new(Slowed { processes, share: share(value)?, stopped: false }))
}
