//! Jobs: commands that must reach their end, started again from their last good checkpoint
//! until they have.
//!
//! ```text
//!   config, orders ─► Jobs ── one task per job ── Supervisor (a run at a time) ── guard
//!   statuses ◄────────┘           │  plan: pure
//!                                 └── checkpoints: hashed once whole, verified before use
//! ```

mod checkpoint;
pub mod plan;
mod record;
mod task;
mod watch;

use crate::supervisor::Supervisor;
use evenkeel_domain::job::{JobOrder, JobSettings, JobStatus};
use record::Record;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use task::Task;
use tokio::task::JoinHandle;

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Run,
    Stop,
    Remove,
}

/// The latest wish.
#[derive(Debug, Clone)]
struct Wish {
    want: Want,
    settings: JobSettings,
    /// Grows with each order of a person.
    turn: u64,
}

/// What all jobs have in common.
#[derive(Debug)]
struct Shared {
    supervisor: Supervisor,
    dir: PathBuf,
    board: tokio::sync::watch::Sender<Vec<JobStatus>>,
    /// What was written last, so that nothing is written twice.
    saved: Mutex<BTreeMap<String, Record>>,
}

impl Shared {
    fn file(&self, job: &str) -> PathBuf {
        self.dir.join(format!("{job}.json"))
    }

    /// Whether this was written already; takes it as written otherwise.
    fn saved(&self, job: &str, record: &Record) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.get(job) == Some(record) {
            return true;
        }
        saved.insert(job.to_owned(), record.clone());
        false
    }

    fn unsaved(&self, job: &str) {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
    }

    fn show(&self, status: JobStatus) {
        self.board.send_if_modified(|all| {
            match all.binary_search_by(|known| known.name.cmp(&status.name)) {
                Ok(at) if all[at] == status => return false,
                Ok(at) => all[at] = status,
                Err(at) => all.insert(at, status),
            }
            true
        });
    }
}

/// All jobs of this node.
#[derive(Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    wish: tokio::sync::watch::Sender<Wish>,
    task: JoinHandle<()>,
}

impl Jobs {
    /// No jobs yet. `supervisor` runs them and nothing else; `dir` is where their records
    /// are kept.
    #[must_use]
    pub fn new(supervisor: Supervisor, dir: PathBuf) -> Self {
        let board = tokio::sync::watch::Sender::new(Vec::new());
        let shared = Arc::new(Shared { supervisor, dir, board, saved: Mutex::default() });
        Self { shared, entries: BTreeMap::new() }
    }

    /// Makes these the whole of what there is. What runs goes on under its old settings
    /// until it is started again; what is gone is stopped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn apply(&mut self, all: Vec<JobSettings>) {
        let gone = |name: &String| !all.iter().any(|settings| settings.name == *name);
        let names: Vec<String> = self.entries.keys().filter(|name| gone(name)).cloned().collect();
        for name in names {
            if let Some(entry) = self.entries.remove(&name) {
                entry.wish.send_modify(|wish| wish.want = Want::Remove);
            }
            self.shared.board.send_modify(|all| all.retain(|known| known.name != name));
        }
        for settings in all {
            match self.entries.get(&settings.name) {
                Some(entry) => entry.wish.send_modify(|wish| wish.settings = settings),
                None => self.add(settings),
            }
        }
    }

    fn add(&mut self, settings: JobSettings) {
        let name = settings.name.clone();
        let wish = Wish { want: Want::Run, settings, turn: 0 };
        let (wish, receiver) = tokio::sync::watch::channel(wish);
        let task = tokio::spawn(Task::new(self.shared.clone(), receiver).run());
        self.entries.insert(name, Entry { wish, task });
    }

    /// Takes a person's order; false where there is no such job.
    pub fn order(&self, name: &str, order: JobOrder) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        entry.wish.send_modify(|wish| {
            wish.turn += 1;
            wish.want = match order {
                JobOrder::Restart => Want::Run,
                JobOrder::Stop => Want::Stop,
            };
        });
        true
    }

    /// All jobs, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.shared.board.borrow().clone()
    }

    /// Follows them.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<Vec<JobStatus>> {
        self.shared.board.subscribe()
    }

    /// Stops what runs, which is no failure: the next keeper goes on from the last good
    /// checkpoint.
    pub async fn shutdown(&mut self, grace: std::time::Duration) {
        self.end().shutdown(grace).await;
    }

    /// Starts no job any more; gives what is to be shut down then.
    #[must_use]
    pub fn end(&mut self) -> Supervisor {
        for entry in std::mem::take(&mut self.entries).into_values() {
            entry.task.abort();
        }
        self.shared.supervisor.clone()
    }
}
