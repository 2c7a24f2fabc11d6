//! Runs checks: a task for each, on one thread of their own.

use super::task::{self, Check};
use evenkeel_domain::check::{CheckSettings, CheckStatus};
use evenkeel_domain::event::EventLog;
use evenkeel_domain::{Replica, Signal};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What checks must know of replicas.
pub trait Members: Send + Sync + std::fmt::Debug {
    /// The members of a service.
    fn of_service(&self, service: &str) -> Vec<Arc<Replica>>;
    /// The member of this name.
    fn named(&self, name: &str) -> Option<Arc<Replica>>;
    /// The process of a supervised replica, while it runs.
    fn pid(&self, replica: &str) -> Option<u32>;
    /// All supervised processes that run, with the names of their replicas.
    fn pids(&self) -> Vec<(Arc<str>, u32)>;
}

/// No replicas, for settings that are only looked at.
#[derive(Debug)]
struct Nobody;

impl Members for Nobody {
    fn of_service(&self, _: &str) -> Vec<Arc<Replica>> {
        Vec::new()
    }
    fn named(&self, _: &str) -> Option<Arc<Replica>> {
        None
    }
    fn pid(&self, _: &str) -> Option<u32> {
        None
    }
    fn pids(&self) -> Vec<(Arc<str>, u32)> {
        Vec::new()
    }
}

pub(super) fn nobody() -> Arc<dyn Members> {
    Arc::new(Nobody)
}

/// The members that settings name.
pub(super) fn concerned(settings: &CheckSettings, members: &dyn Members) -> Vec<Arc<Replica>> {
    match &settings.service {
        Some(service) => members.of_service(service),
        None => settings.replicas.iter().filter_map(|name| members.named(name)).collect(),
    }
}

pub(super) type Board = Arc<Mutex<BTreeMap<String, Vec<CheckStatus>>>>;

/// What all checks share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) members: Arc<dyn Members>,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) events: Arc<EventLog>,
    pub(super) board: Board,
}

/// All checks. They end with it.
#[derive(Debug)]
pub struct Checks {
    wanted: watch::Sender<Vec<CheckSettings>>,
    /// How many run.
    running: watch::Receiver<usize>,
    board: Board,
}

impl Checks {
    /// Starts the thread, with no checks yet.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        members: Arc<dyn Members>,
        signals: mpsc::Sender<Signal>,
        events: Arc<EventLog>,
    ) -> io::Result<Self> {
        let (wanted, changes) = watch::channel(Vec::new());
        let (counts, running) = watch::channel(0);
        let board = Board::default();
        let shared = Shared { members, signals, events, board: board.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("checks".into()).spawn(move || {
            runtime.block_on(follow(changes, counts, shared));
            // Not waited for: a look may hang in the system.
            runtime.shutdown_background();
        })?;
        Ok(Self { wanted, running, board })
    }

    /// Has exactly these run from now on. Those that are as before go on as they are.
    pub fn configure(&self, checks: Vec<CheckSettings>) {
        self.wanted.send_replace(checks);
    }

    /// Ends all of them, with the scripts that run. Waits no longer than this.
    pub async fn end(&self, within: Duration) {
        self.configure(Vec::new());
        let mut running = self.running.clone();
        let _ = timeout(within, running.wait_for(|running| *running == 0)).await;
    }

    /// Where all of them stand, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<CheckStatus> {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.values().flatten().cloned().collect()
    }
}

/// Keeps what runs in step with what is wanted, until nobody wants anything any more.
async fn follow(
    mut changes: watch::Receiver<Vec<CheckSettings>>,
    counts: watch::Sender<usize>,
    shared: Shared,
) {
    let mut running: HashMap<String, Running> = HashMap::new();
    while changes.changed().await.is_ok() {
        let wanted = changes.borrow_and_update().clone();
        let mut before = std::mem::take(&mut running);
        for settings in &wanted {
            let known = before.remove_entry(&settings.name);
            if let Some((name, known)) = known {
                if known.settings == *settings {
                    running.insert(name, known);
                } else {
                    before.insert(name, known);
                }
            }
        }
        for (_, gone) in before {
            gone.end().await;
        }
        for settings in wanted {
            if !running.contains_key(&settings.name) {
                running.insert(settings.name.clone(), Running::start(settings, shared.clone()));
            }
        }
        counts.send_replace(running.len());
    }
    for (_, gone) in running {
        gone.end().await;
    }
}

struct Running {
    settings: CheckSettings,
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(settings: CheckSettings, shared: Shared) -> Self {
        let (ending, ended) = watch::channel(false);
        let task = tokio::spawn(task::run(Check::new(settings.clone(), shared), ended));
        Self { settings, ending, task }
    }

    /// Ends it; what it had against anybody is taken back.
    async fn end(self) {
        self.ending.send_replace(true);
        let _ = self.task.await;
    }
}

/// Long enough for a rate, short enough for any timeout: the first look of what only
/// differences tell.
pub(super) const FIRST: Duration = Duration::from_millis(200);
