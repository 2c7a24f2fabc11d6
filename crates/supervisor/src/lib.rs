//! Runs model servers on this node: start, ready, stop, restart, logs.
//!
//! ```text
//!   Supervisor ── one task per instance ── guard process ── the command and its tree
//!    wishes in        restart: pure          kills all          stdout, stderr
//!    statuses out     run: one start         if the keeper ─►   into rotating files
//!                                            is gone
//! ```
//!
//! - [`guard_main`] is what the hidden subcommand of the binary calls.
//! - [`Supervisor`] is what the keeper holds; it implements the domain's orchestrator.
//! - [`logs`] reads back what the guards have written.
//! - [`restart`] decides when what has ended is started again.

mod board;
mod guard;
mod instance;
pub mod job;
pub mod logs;
mod port;
mod ports;
mod process;
pub mod restart;
mod rotate;
mod run;
mod spec;
mod supervisor;
mod sweep;
mod tree;
mod wire;

pub use guard::{GuardArgs, guard_main};
pub use restart::RestartPolicy;
pub use spec::{SpecError, validate};
pub use supervisor::{SetupError, Supervisor, SupervisorSettings};
pub use sweep::become_subreaper;
