//! A bad line.

use crate::fault::{Fault, Flow, SharedFault, Step, spec};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// TCP's first retransmission comes no sooner (Linux, `TCP_RTO_MIN`).
const RETRANSMIT: Duration = Duration::from_millis(200);

/// A seeded share of the answers is lost. Below TCP nothing stays lost, so a client sees
/// silence.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// Between 0 and 1.
    pub share: f64,
    /// Of what.
    pub of: LossOf,
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossOf {
    /// Whole connections: their answers stop until the fault is over.
    Connections,
    /// Single pieces: each comes after 200 ms, as sent anew, and holds up what follows it.
    Pieces,
}

impl Fault for Loss {
    fn step(&self, flow: &mut Flow, _piece: &[u8]) -> Step {
        match self.of {
            LossOf::Pieces if flow.rng.f64() < self.share => Step::At(flow.now + RETRANSMIT),
            LossOf::Pieces => Step::Pass,
            LossOf::Connections => {
                let rng = &mut flow.rng;
                let lost = *flow.chosen.get_or_insert_with(|| rng.f64() < self.share);
                if lost { Step::Stall } else { Step::Pass }
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss:{}%", self.share * 100.0)?;
        match self.of {
            LossOf::Connections => Ok(()),
            LossOf::Pieces => f.write_str(",of=pieces"),
        }
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    let values = spec::values(value, &["of"])?;
    let of = match values.get("of") {
        None | Some("connections") => LossOf::Connections,
        Some("pieces") => LossOf::Pieces,
        Some(other) => return Err(format!("`of={other}`: connections or pieces")),
    };
    Ok(Arc::new(Loss { share: spec::share(values.first)?, of }))
}
