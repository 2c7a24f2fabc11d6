//! What a drill is, and when each of its parts comes. Pure: no clock, no I/O.
//!
//! ```text
//!  file ─► check ─► resolve (who is meant, may it be) ─► machine: steady ─► fault ─► recover ─► after
//!                                                          ▲ seen, now        │ orders
//! ```

mod check;
mod file;
mod machine;
mod marks;
mod resolve;
mod seen;
mod tell;
mod verdict;
mod watch;

pub use check::problems;
pub use file::{
    Bounds, Drill, Expectations, FaultStep, Limits, LoadPlan, Severity, Steady, StopWhen, Target,
    Which,
};
pub use machine::{Injection, Machine, Order, Phase};
pub use marks::{Lane, Mark, MarkKind};
pub use resolve::{Resolved, Task, resolve};
pub use seen::{LoadSeen, Look, ReplicaLook, Seen, ServiceLook};
pub use verdict::{Checked, Figures, Verdict};
