//! The port to what runs on the agent's node.

use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use evenkeel_domain::orchestrator::Orchestrator;
use std::io;
use tokio::sync::watch;

/// The next lines of a log, none when there are none yet. Does file I/O.
pub type Follow = Box<dyn FnMut() -> io::Result<Vec<String>> + Send>;

/// What an agent commands on its node. `app` implements it.
pub trait Host: Send + Sync {
    /// Runs replicas.
    fn orchestrator(&self) -> &dyn Orchestrator;

    /// Makes these the whole of the jobs.
    fn jobs(&self, all: Vec<JobSettings>);

    /// Takes an order about a job; false where there is no such job.
    fn order(&self, job: &str, order: JobOrder) -> bool;

    /// Follows the jobs.
    fn job_statuses(&self) -> watch::Receiver<Vec<JobStatus>>;

    /// The last `n` lines of what an instance or job wrote. Called where blocking is allowed.
    ///
    /// # Errors
    /// `NotFound` when there is no log; whatever the system says.
    fn tail(&self, name: &str, n: usize) -> io::Result<Vec<String>>;

    /// What it writes from now on.
    ///
    /// # Errors
    /// As [`Host::tail`].
    fn follow(&self, name: &str) -> io::Result<Follow>;
}
