//! Carries the plan out: writes down, then does, then writes down what came of it.
//!
//! ```text
//!   tick ─► look at the world ─► next change ─► journal ─► state ─► hands
//!                                     ▲            └ broken: nothing is done, and it says so
//!   people, actions that end ─────────┘
//! ```
//!
//! Everything else may be dead: the runner neither serves nor judges. A runner that takes the
//! journal over fences the one before, so that two never act at once.

mod board;

pub use board::{Board, Told, View};

use crate::action::{self, Task};
use crate::plan::limits::ms;
use crate::plan::{
    self, Book, Change, Decision, Order, Preview, Refusal, Resume, State, obey, preview,
};
use arc_swap::ArcSwap;
use evenkeel_domain::incident::{
    Hands, Incident, Journal, JournalError, Millis, Phase, Seen, World,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long until a journal that is broken is tried again.
const MEND: Duration = Duration::from_secs(1);
/// Changes in a row before anything else is heard: each is one row on disk.
const AT_A_TIME: usize = 100;
/// Looks between two cleanings of the journal: about ten minutes.
const CLEAN: u32 = 2400;
/// Orders that may wait: they come from people.
const ORDERS: usize = 64;
/// How long an isolation of ours holds beyond its step, should nobody end it.
const HOLDS: Millis = 3_600_000;

/// What the runner works with.
pub struct Parts {
    /// Where everything is written down.
    pub journal: Arc<dyn Journal>,
    /// What it sees.
    pub world: Arc<dyn World>,
    /// What it does.
    pub hands: Arc<dyn Hands>,
    /// What the configuration says; may be replaced at any time.
    pub book: Arc<ArcSwap<Book>>,
    /// What it shows.
    pub board: Arc<Board>,
    /// Milliseconds since the Unix epoch.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
}

/// Why an order was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It makes no sense now.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It cannot be written down, or nobody is there to do so.
    #[error("{0}")]
    Unavailable(String),
}

enum Call {
    Order(Order, oneshot::Sender<Result<(), OrderError>>),
    Preview(String, oneshot::Sender<Option<Preview>>),
}

/// A way to tell the runner.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Call>);

impl Handle {
    /// Gives an order; answered once it is written down.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        let (answer, answered) = oneshot::channel();
        // Both fail when the runner has ended, which the last line says.
        let _ = self.0.send(Call::Order(order, answer)).await;
        answered.await.unwrap_or_else(|_| {
            Err(OrderError::Unavailable("recovery does not run in this process".into()))
        })
    }

    /// What would be done about a target; `None` for one that is not known.
    pub async fn preview(&self, target: &str) -> Option<Preview> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(Call::Preview(target.to_owned(), answer)).await;
        answered.await.ok().flatten()
    }
}

/// Starts the runner on the current runtime. It ends when `end` does, once what it writes is
/// written; actions under way are left, and gone on with by whoever takes over.
pub fn spawn(parts: Parts, end: oneshot::Receiver<()>) -> (Handle, tokio::task::JoinHandle<()>) {
    let (calls, inbox) = mpsc::channel(ORDERS);
    (Handle(calls), tokio::spawn(run(parts, inbox, end)))
}

async fn run(parts: Parts, mut inbox: mpsc::Receiver<Call>, mut end: oneshot::Receiver<()>) {
    let Some(mut runner) = begin(parts, &mut end).await else { return };
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let went = tokio::select! {
            biased;
            _ = &mut end => return,
            Some(ended) = runner.running.join_next_with_id() => match ended {
                Ok((task, (id, key, result))) => {
                    runner.keys.remove(&task);
                    runner.ended(&id, &key, result).await
                }
                // It panicked: the next look finds its step without a task, and begins one.
                Err(error) => {
                    runner.keys.remove(&error.id());
                    Ok(())
                }
            },
            Some(call) = inbox.recv() => runner.call(call).await,
            _ = tick.tick() => runner.look().await,
        };
        match went {
            Ok(()) => runner.parts.board.mended(),
            Err(JournalError::Fenced) => {
                runner.parts.board.broken("another process has taken recovery over");
                tracing::warn!("recovery has been taken over by another process");
                return;
            }
            Err(error) => {
                runner.parts.board.broken(&error.to_string());
                tokio::select! {
                    _ = &mut end => return,
                    () = tokio::time::sleep(MEND) => {}
                }
            }
        }
    }
}

/// Takes the journal over, however long that takes.
async fn begin(parts: Parts, end: &mut oneshot::Receiver<()>) -> Option<Runner> {
    loop {
        match Runner::take(&parts).await {
            Ok((state, unreleased)) => {
                let runner = Runner::new(parts, state);
                for target in unreleased {
                    runner.release(&target).await;
                }
                return Some(runner);
            }
            Err(error) => parts.board.broken(&error.to_string()),
        }
        tokio::select! {
            _ = &mut *end => return None,
            () = tokio::time::sleep(MEND) => {}
        }
    }
}

/// An action's end: incident, key, result.
type Ended = (String, String, Result<String, String>);

struct Runner {
    parts: Parts,
    state: State,
    running: JoinSet<Ended>,
    /// Keys of what runs in this process.
    keys: HashMap<tokio::task::Id, String>,
    looks: u32,
}

impl Runner {
    async fn take(parts: &Parts) -> Result<(State, Vec<String>), JournalError> {
        let now = (parts.now)();
        let epoch = parts.journal.take(now).await?;
        let (open, standing) = parts.journal.load().await?;
        let ours = |one: &&Incident| !matches!(one.phase, Phase::Isolated | Phase::Acting);
        let unreleased = open.iter().filter(ours).map(|one| one.target.clone()).collect();
        Ok((State::new(epoch, open, standing, now), unreleased))
    }

    fn new(parts: Parts, state: State) -> Self {
        tracing::info!(epoch = state.epoch, open = state.incidents.len(), "recovery runs");
        Self { parts, state, running: JoinSet::new(), keys: HashMap::new(), looks: 0 }
    }

    fn now(&self) -> Millis {
        (self.parts.now)()
    }

    async fn look(&mut self) -> Result<(), JournalError> {
        let (world, book, now) = (self.parts.world.look(), self.parts.book.load_full(), self.now());
        for _ in 0..AT_A_TIME {
            let Some(change) = self.state.next(&world, &book, now) else { break };
            self.commit(change).await?;
        }
        // Of services that a reload brought, nobody was told yet.
        self.parts.hands.stand_in(&plan::stand_ins(&self.state));
        self.resume(&world).await?;
        self.state.looked(&world, now);
        self.show(&world, &book);
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(CLEAN) {
            let keep = book.rules.keep_rows;
            self.parts.journal.prune(self.state.epoch, keep, now).await?;
        }
        Ok(())
    }

    /// Writes a change down, then takes it over and does what it says.
    async fn commit(&mut self, change: Change) -> Result<(), JournalError> {
        self.parts.journal.append(self.state.epoch, &change.record).await?;
        self.state.apply(&change.record);
        self.parts.board.told(&change);
        // Before the step is done that counts on it.
        self.parts.hands.stand_in(&plan::stand_ins(&self.state));
        let Some(incident) = change.record.incident else { return Ok(()) };
        if change.release {
            self.release(&incident.target).await;
        }
        if change.act {
            self.start(incident);
        }
        Ok(())
    }

    async fn release(&self, target: &str) {
        if let Err(why) = self.parts.hands.release(target).await {
            // It ends by itself.
            tracing::warn!(replica = target, why, "the order to isolate it was not taken back");
        }
    }

    /// Has the step that the incident names done.
    fn start(&mut self, incident: Incident) {
        let Some(task) = self.task(incident) else { return };
        let hands = self.parts.hands.clone();
        let key = task.key.clone();
        let running = self.running.spawn(async move {
            let name = task.step.action.name();
            let result = match action::find(name) {
                None => Err(format!("there is no action `{name}`")),
                Some(action) => {
                    let act = action.act(&task, &*hands);
                    match tokio::time::timeout(task.step.timeout, act).await {
                        Ok(result) => result,
                        Err(_) => Err("it did not end in time".into()),
                    }
                }
            };
            (task.incident.id, task.key, result)
        });
        self.keys.insert(running.id(), key);
    }

    fn task(&self, incident: Incident) -> Option<Task> {
        let doing = incident.doing.clone()?;
        let until = self.now().saturating_add(ms(doing.step.timeout)).saturating_add(HOLDS);
        let (key, incarnation, step) = (doing.key, doing.incarnation, doing.step);
        Some(Task { incident, step, key, incarnation, until })
    }

    /// What was begun and is done by nobody here: an earlier process died over it. The world
    /// says whether it came about; else it is done under the same key.
    async fn resume(&mut self, world: &[Seen]) -> Result<(), JournalError> {
        let lost = |one: &&Incident| {
            let key = one.doing.as_ref().map(|doing| &doing.key);
            let runs = |key: &String| self.keys.values().any(|running| running == key);
            one.phase == Phase::Acting && key.is_some_and(|key| !runs(key))
        };
        let lost: Vec<Incident> = self.state.incidents.values().filter(lost).cloned().collect();
        for incident in lost {
            let Some(task) = self.task(incident) else { continue };
            let Some(seen) = world.iter().find(|seen| seen.target == task.incident.target) else {
                continue;
            };
            let action = action::find(task.step.action.name());
            let is_done = action.is_some_and(|action| action.is_done(&task, seen));
            match plan::resume(&self.state, &task.incident, &task.step, (seen, is_done), self.now())
            {
                Resume::Later => {}
                Resume::Done(how) => {
                    self.ended(&task.incident.id, &task.key, Ok(how.to_owned())).await?;
                }
                Resume::Again => {
                    tracing::warn!(key = task.key, "a step that was begun is gone on with");
                    self.start(task.incident);
                }
            }
        }
        Ok(())
    }

    async fn ended(
        &mut self,
        id: &str,
        key: &str,
        result: Result<String, String>,
    ) -> Result<(), JournalError> {
        // Should the row not be written, the next look finds a step that nobody does.
        let Some(incident) = self.state.incidents.get(id) else { return Ok(()) };
        let Some(doing) = incident.doing.as_ref().filter(|doing| doing.key == key) else {
            return Ok(());
        };
        let name = doing.step.action.name();
        let Some(change) = plan::ended(incident, &result, self.now()) else { return Ok(()) };
        self.commit(change).await?;
        self.parts.board.acted(name, result.is_ok());
        Ok(())
    }

    async fn call(&mut self, call: Call) -> Result<(), JournalError> {
        let (world, book, now) = (self.parts.world.look(), self.parts.book.load_full(), self.now());
        match call {
            Call::Preview(target, answer) => {
                let seen = world.iter().find(|seen| seen.target == target);
                let found = seen.map(|seen| preview(&self.state, seen, &world, &book, now));
                // Whoever asked may be gone.
                let _ = answer.send(found);
                Ok(())
            }
            Call::Order(order, answer) => {
                let done = match obey(&self.state, &world, &book, order, now) {
                    Ok(change) => self
                        .commit(change)
                        .await
                        .map_err(|error| (OrderError::Unavailable(error.to_string()), Some(error))),
                    Err(refusal) => Err((refusal.into(), None)),
                };
                self.show(&world, &book);
                let (told, went) = match done {
                    Ok(()) => (Ok(()), Ok(())),
                    Err((told, broken)) => (Err(told), broken.map_or(Ok(()), Err)),
                };
                let _ = answer.send(told);
                went
            }
        }
    }

    fn show(&self, world: &[Seen], book: &Book) {
        let now = self.now();
        let open = self.state.incidents.values().map(|incident| {
            let held = match plan::decide(&self.state, incident, world, book, now) {
                Decision::Hold(why) => why,
                Decision::Running => {
                    let step = incident.doing.as_ref().map(|doing| &doing.step);
                    step.map(plan::playbook::describe).unwrap_or_default()
                }
                Decision::Change(_) => String::new(),
            };
            (incident.clone(), held)
        });
        let standing = self.state.standing.clone();
        self.parts.board.show(self.state.epoch, open.collect(), standing);
    }
}
