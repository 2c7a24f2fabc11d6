//! Recovery in this process: the journal and the runner on a thread of their own, so that an
//! fsync holds up neither clients nor health.
//!
//! ```text
//!   GatewayState ─► world ─► runner ─► journal (a file of its own)
//!                              │
//!   keeper, overrides ◄─ hands ┘
//! ```
//! Nothing else needs this thread: without it serving goes on, and nothing is healed. It
//! begins once this gateway serves and ends when it drains, so of two gateways side by side
//! the newer one heals; were both to try, the journal refuses the older.

mod hands;
mod heal;
mod world;

pub(super) use hands::{OWNER, post};
pub(super) use heal::Heal;

use super::control::GatewayControl;
use super::overrides::Overrides;
use super::source::GatewayState;
use super::standby::Standbys;
use crate::config::{self, Config};
use crate::link::ToKeeper;
use arc_swap::ArcSwap;
use evenkeel_domain::clock;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::incident::{Incident, Journal, Phase};
use evenkeel_recovery::{Board, Book, Handle, Order, OrderError, Parts, Told};
use evenkeel_store::JournalFile;
use hands::GatewayHands;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use world::GatewayWorld;

/// How long until a journal that cannot be opened is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long what is being written may take once the gateway drains.
const ENDS: Duration = Duration::from_secs(2);

/// What others in this process know of recovery.
pub(super) struct Recovery {
    pub(super) board: Arc<Board>,
    book: Arc<ArcSwap<Book>>,
    /// There once the journal is open.
    inside: OnceLock<Inside>,
    /// Whether its thread has ended, or never began.
    over: watch::Sender<bool>,
    state: Arc<GatewayState>,
    standbys: OnceLock<Arc<Standbys>>,
}

struct Inside {
    handle: Handle,
    journal: Arc<dyn Journal>,
}

impl Recovery {
    /// Recovery that has not begun.
    pub(super) fn new(config: &Config, state: &Arc<GatewayState>) -> Arc<Self> {
        let events = state.shared.events.clone();
        let board = Board::new(move |told| match told {
            Told::Moved(from, incident) => {
                let (to, why) = (incident.phase, incident.note.clone());
                let (id, replica) = (incident.id.clone(), incident.target.clone());
                let (from, to) = (from.label(), to.label());
                if incident.phase == Phase::Escalated {
                    tracing::error!(
                        id,
                        replica,
                        from,
                        why,
                        next = incident.next,
                        "a person is needed"
                    );
                } else {
                    tracing::info!(id, replica, from, to, why, "incident");
                }
                let (from, to, next) = (from.into(), to.into(), incident.next.clone());
                events.push(EventKind::Incident { id, replica, from, to, why, next });
            }
            Told::Storm(stopped, why) => {
                tracing::error!(stopped, why, "storm stop");
                events.push(EventKind::Storm { stopped, why });
            }
        });
        Arc::new(Self {
            board: Arc::new(board),
            book: Arc::new(ArcSwap::from_pointee(config::book(config))),
            inside: OnceLock::new(),
            over: watch::Sender::new(true),
            state: state.clone(),
            standbys: OnceLock::new(),
        })
    }

    /// Writes down what is done beside incidents.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) async fn note(&self, kind: &str, text: String) -> Result<(), OrderError> {
        let broken = || OrderError::Unavailable("there is no journal yet".into());
        let inside = self.inside.get().ok_or_else(broken)?;
        inside.handle.order(Order::Note { kind: kind.to_owned(), text }).await
    }

    /// The newest incidents of the journal; none while it cannot be read.
    pub(super) async fn newest(&self, limit: u32) -> Option<Vec<Incident>> {
        self.inside.get()?.journal.incidents(limit).await.ok()
    }

    /// What is there to stand in for others, once known.
    pub(super) fn set_standbys(&self, standbys: Arc<Standbys>) {
        let _ = self.standbys.set(standbys);
    }

    /// A new configuration is in force. Incidents that are open keep their playbook.
    pub(super) fn configure(&self, config: &Config) {
        self.book.store(Arc::new(config::book(config)));
    }

    /// Begins, on a thread of its own. `path` is the journal's.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        self: &Arc<Self>,
        path: PathBuf,
        overrides: Arc<Overrides>,
        control: GatewayControl,
        to_keeper: mpsc::Sender<ToKeeper>,
    ) -> io::Result<()> {
        let recovery = self.clone();
        let standbys = self.standbys.get().cloned();
        let world = GatewayWorld::new(self.state.clone(), overrides.clone(), standbys.clone());
        let hands = GatewayHands::new(self.state.clone(), overrides, standbys, control, to_keeper);
        self.over.send_replace(false);
        let begun = std::thread::Builder::new().name("recovery".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(recovery.run(path, world, hands));
                    runtime.shutdown_background();
                }
                Err(error) => recovery.board.broken(&error.to_string()),
            }
            recovery.over.send_replace(true);
        });
        begun.map(drop).inspect_err(|_| {
            self.over.send_replace(true);
        })
    }

    /// Waits until what is being written is written, once this gateway drains.
    pub(super) async fn end(&self, within: Duration) {
        let mut over = self.over.subscribe();
        if tokio::time::timeout(within, over.wait_for(|over| *over)).await.is_err() {
            tracing::warn!("the journal was not closed in time");
        }
    }

    async fn run(&self, path: PathBuf, world: GatewayWorld, hands: GatewayHands) {
        let mut draining = self.state.shared.draining.subscribe();
        let journal = tokio::select! {
            journal = self.open(path) => journal,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let parts = Parts {
            journal: journal.clone(),
            world: Arc::new(world),
            hands: Arc::new(hands),
            book: self.book.clone(),
            board: self.board.clone(),
            now: Arc::new(clock::unix_millis),
        };
        let (end, ends) = oneshot::channel();
        let (handle, mut runner) = evenkeel_recovery::spawn(parts, ends);
        // Set once: this is the only place.
        let _ = self.inside.set(Inside { handle, journal: journal.clone() });
        tokio::select! {
            _ = draining.wait_for(|draining| *draining) => {}
            // It was taken over, or broke; what that means is on the board.
            _ = &mut runner => {
                if self.board.why_not().is_none() {
                    self.board.broken("recovery ended by itself; restart Evenkeel");
                }
                return;
            }
        }
        let _ = end.send(());
        let _ = tokio::time::timeout(ENDS, runner).await;
        let _ = tokio::time::timeout(ENDS, journal.tidy()).await;
    }

    /// Opens the journal, however long that takes; says why it cannot be.
    async fn open(&self, path: PathBuf) -> Arc<JournalFile> {
        let writer = format!("{}/{}", host(), std::process::id());
        loop {
            match JournalFile::open(&path, writer.clone()).await {
                Ok(journal) => return Arc::new(journal),
                Err(error) => self.board.broken(&error.to_string()),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
