//! The engine behind `evenkeel load`: send requests, judge every answer, say how long
//! clients waited.
//!
//! ```text
//!  settings ─► Job ──┬─► worker 0: schedule ─► slots ─► exchange ─► judge ─► tally ─┐
//!   (checked,        ├─► worker 1: …                                                ├─► report
//!    prepared)       └─► …                                                         ─┘
//! ```
//!
//! A worker is a thread with a runtime of its own; workers share nothing but a ticket
//! counter, so that the tool costs little beside what it measures. Unless told so, requests
//! are never retried: what a client would have seen is the result.
//!
//! With an open loop, latency counts from the moment at which a request *should* have been
//! sent. A closed loop stops asking while the server is stuck and so hides most of a
//! stall ("coordinated omission", Gil Tene).

mod connection;
mod error;
mod exchange;
mod expected;
mod job;
pub mod judge;
mod outcome;
mod pace;
pub mod progress;
mod prompt;
mod report;
mod retry;
mod run;
mod schedule;
mod settings;
mod table;
mod tally;
mod target;
mod timeline;
mod trace;
mod worker;

pub use error::LoadError;
pub use outcome::{Flaw, Outcome};
pub use progress::{Bar, Progress, Silent, Snapshot};
pub use report::{Failure, Quantiles, Report, Second, Totals};
pub use retry::Again;
pub use run::{run, run_until};
pub use settings::{Api, Arrivals, Expect, Header, LoadSettings, Mode};
pub use trace::{Record, read as read_trace};
