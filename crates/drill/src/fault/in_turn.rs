//! A fault that meets one in so many.

use crate::fault::{Accept, Answer, Fault, Flow, SharedFault, Step, parse};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Every so many connections meet another fault; where that answers or withholds requests,
/// every so many requests do. Open connections are not ended.
#[derive(Debug)]
pub struct InTurn {
    every: u64,
    fault: SharedFault,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl InTurn {
    /// One in `every` meets the fault, at least one in one.
    #[must_use]
    pub fn new(every: u64, fault: SharedFault) -> Self {
        let (connections, requests) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { every: every.max(1), fault, connections, requests }
    }

    fn turn(&self, count: &AtomicU64) -> bool {
        count.fetch_add(1, Relaxed) % self.every == self.every - 1
    }
}

impl Fault for InTurn {
    fn accept(&self) -> Accept {
        let strikes = self.fault.accept();
        match strikes != Accept::Forward && self.turn(&self.connections) {
            true => strikes,
            false => Accept::Forward,
        }
    }

    fn answer(&self) -> Option<Answer> {
        self.fault.answer().filter(|_| self.turn(&self.requests))
    }

    fn withholds(&self, begins: bool) -> bool {
        begins && self.fault.withholds(true) && self.turn(&self.requests)
    }

    fn change(&self, flow: &mut Flow, piece: &mut [u8]) {
        if self.chosen(flow) {
            self.fault.change(flow, piece);
        }
    }

    fn step(&self, flow: &mut Flow, piece: &[u8]) -> Step {
        match self.chosen(flow) {
            true => self.fault.step(flow, piece),
            false => Step::Pass,
        }
    }

    fn piece_limit(&self) -> usize {
        self.fault.piece_limit()
    }
}

impl InTurn {
    fn chosen(&self, flow: &mut Flow) -> bool {
        if let Some(chosen) = flow.chosen {
            return chosen;
        }
        // What ends connections as they come, or withholds requests, has its turn there.
        let elsewhere = self.fault.accept() != Accept::Forward || self.fault.withholds(true);
        let chosen = !elsewhere && self.turn(&self.connections);
        flow.chosen = Some(chosen);
        chosen
    }
}

impl fmt::Display for InTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in-turn:{},{}", self.every, self.fault)
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let (every, fault) = value.split_once(',').ok_or("a number, a comma and a fault are needed")?;
    let every: u64 = match every.trim().parse() {
        Ok(every @ 2..=1_000_000) => every,
        _ => return Err(format!("`{every}` is no number from 2 to 1000000")),
    };
    let fault = fault.trim();
    if fault.starts_with("in-turn") || fault.starts_with("loss") || fault.starts_with("refuse") {
        return Err(format!("`{fault}` cannot be had in turn"));
    }
    let fault = parse(fault).map_err(|error| error.to_string())?;
    Ok(Arc::new(InTurn::new(every, fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_three_is_met() {
        let fault = make("3,http:500").unwrap();
        let met: Vec<bool> = (0..6).map(|_| fault.answer().is_some()).collect();
        assert_eq!(met, [false, false, true, false, false, true]);
        let fault = make("2,blackhole").unwrap();
        assert!(!fault.withholds(true) && fault.withholds(true) && !fault.withholds(false));
        let fault = make("2,reset:0").unwrap();
        assert_eq!(fault.accept(), Accept::Forward);
        assert_ne!(fault.accept(), Accept::Forward);
        for bad in ["3", "1,http:500", "3,in-turn:3,http:500", "3,refuse", "x,http:500"] {
            assert!(make(bad).is_err(), "{bad}");
        }
    }
}
