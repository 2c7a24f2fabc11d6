//! The thread of alerts: look, decide, write, send.

use super::send::{Senders, Sent, try_one};
use super::world::{self, Memory};
use super::{Alerts, Asked, Order, Setup};
use evenkeel_admin::view::{AlertView, AlertsView, SilenceView, SourceView, TriedView};
use evenkeel_domain::alert::{AlertStore, Doc, Past, Severity, Silence};
use evenkeel_domain::clock;
use evenkeel_domain::event::EventKind;
use evenkeel_notify::source::{self, REGISTRY};
use evenkeel_notify::stage::{Desk, Happened};
use evenkeel_store::AlertFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the store is waited for at first: alerts must not wait for a disk.
const FIRST: Duration = Duration::from_secs(2);
/// Looks until a store that could not be opened is tried again.
const AGAIN: u64 = 20;
/// How long a write may take before messages are sent without it.
const WRITE: Duration = Duration::from_secs(3);
/// How many messages come that wait to be written, while the store is broken.
const UNWRITTEN: usize = 10_000;

/// What came of an order, and who waits for it.
type Answered = (oneshot::Sender<Result<(), String>>, Result<(), String>);

/// What the thread has.
struct Thread<'a> {
    of: &'a Alerts,
    desk: Desk,
    /// Where it is kept, and under which epoch.
    store: Option<(Arc<AlertFile>, u64)>,
    /// Why it is not.
    error: Option<String>,
    /// What is not written yet.
    docs: Vec<Doc>,
    past: Vec<Past>,
    senders: Senders,
    memory: Memory,
    tests: JoinSet<()>,
    /// Orders that are answered once they are written.
    answers: Vec<Answered>,
    path: PathBuf,
}

/// Runs until this gateway drains, or another one has taken over.
pub(super) async fn run(of: &Alerts, path: PathBuf, mut inbox: mpsc::Receiver<Asked>) {
    let mut draining = of.state.shared.draining.subscribe();
    let mut thread = Thread::begin(of, path).await;
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                looks += 1;
                if thread.store.is_none() && looks.is_multiple_of(AGAIN) {
                    thread.reopen().await;
                }
                thread.look();
            }
            sent = thread.senders.next() => thread.settle(sent),
            Some(asked) = inbox.recv() => thread.answer(asked),
            _ = draining.wait_for(|draining| *draining) => break,
        }
        if !thread.write().await {
            tracing::info!("another process alerts now");
            break;
        }
        for (to, done) in thread.answers.drain(..) {
            // Whoever asked has gone at worst.
            let _ = to.send(done);
        }
        let setup = of.setup.load_full();
        thread.senders.send(&thread.desk, &setup);
        thread.publish(&setup);
    }
    thread.write().await;
}

impl<'a> Thread<'a> {
    async fn begin(of: &'a Alerts, path: PathBuf) -> Self {
        let opened = timeout(FIRST, open(&path)).await;
        let opened = opened.unwrap_or_else(|_| Err("it does not open in time".into()));
        let now = clock::unix_millis();
        let (desk, store, error) = match opened {
            Ok((store, epoch, docs)) => (Desk::new(epoch, now, &docs), Some((store, epoch)), None),
            // Told all the same; the time is a number that was never given before.
            Err(why) => (Desk::new(now, now, &[]), None, Some(why)),
        };
        if let Some(why) = &error {
            tracing::error!(why, "alerts are not kept: a crash would lose some");
        }
        Self {
            of,
            desk,
            store,
            error,
            docs: Vec::new(),
            past: Vec::new(),
            senders: Senders::default(),
            memory: Memory::default(),
            tests: JoinSet::new(),
            answers: Vec::new(),
            path,
        }
    }

    async fn reopen(&mut self) {
        match timeout(FIRST, open(&self.path)).await {
            Ok(Ok((store, epoch, docs))) => {
                self.desk.adopt(clock::unix_millis(), &docs);
                self.store = Some((store, epoch));
                self.error = None;
                tracing::info!("alerts are kept again");
            }
            Ok(Err(why)) => self.error = Some(why),
            Err(_) => self.error = Some("it does not open in time".into()),
        }
    }

    fn look(&mut self) {
        let setup = self.of.setup.load_full();
        let now = clock::unix_millis();
        self.senders.retain(&setup);
        self.desk.retain_channels(&setup.policy, now);
        let world = world::look(self.of, &mut self.memory, &self.senders, self.error.as_deref());
        let findings = source::look(&world, &setup.sources, &setup.rules);
        self.desk.step(now, findings, &setup.policy);
        while self.tests.try_join_next().is_some() {}
    }

    fn settle(&mut self, sent: Sent) {
        self.desk.settle(sent.seq, sent.answer, clock::unix_millis());
    }

    /// Writes what has changed, before anything of it is sent. `false` when another process has
    /// taken over.
    async fn write(&mut self) -> bool {
        for happened in self.desk.happened() {
            self.tell(&happened);
            self.past.push(happened.past);
        }
        for doc in self.desk.changes() {
            self.docs.retain(|old| (old.table, &old.key) != (doc.table, &doc.key));
            self.docs.push(doc);
        }
        self.past.truncate(UNWRITTEN);
        if self.docs.is_empty() && self.past.is_empty() {
            return true;
        }
        if self.docs.len() > UNWRITTEN {
            self.store = None;
        }
        let Some((store, epoch)) = self.store.clone() else {
            // What is so is written whole once there is a store.
            self.docs.clear();
            return true;
        };
        match timeout(WRITE, store.write(epoch, &self.docs, &self.past)).await {
            Ok(Ok(true)) => {
                self.docs.clear();
                self.past.clear();
                self.error = None;
            }
            Ok(Ok(false)) => return false,
            Ok(Err(error)) => self.broken(error.to_string()),
            Err(_) => self.broken("it does not answer in time".into()),
        }
        true
    }

    fn broken(&mut self, why: String) {
        if self.error.is_none() {
            tracing::error!(why, "alerts are not kept: a crash would lose some");
        }
        self.error = Some(why);
    }

    fn tell(&self, happened: &Happened) {
        let Happened { past, about } = happened;
        let Some(alert) = about else {
            tracing::info!(kind = past.kind, "{}", past.text);
            return;
        };
        if past.kind == "delivered" {
            tracing::info!(id = alert.id, "{}", past.text);
            return;
        }
        let finding = &alert.finding;
        let loud = matches!(past.kind.as_str(), "fires" | "escalated" | "undelivered" | "lost");
        let (id, kind, text) = (&alert.id, &past.kind, &past.text);
        match (loud, finding.severity) {
            (true, Severity::Page) => tracing::error!(id, kind, "alert: {text}"),
            (true, Severity::Ticket) => tracing::warn!(id, kind, "alert: {text}"),
            _ => tracing::info!(id, kind, "alert: {text}"),
        }
        self.of.state.shared.events.push(EventKind::Alert {
            id: id.clone(),
            alert: finding.alert.clone(),
            service: finding.service.clone(),
            severity: finding.severity.label().to_owned(),
            to: kind.clone(),
            why: text.clone(),
        });
    }

    fn answer(&mut self, asked: Asked) {
        let now = clock::unix_millis();
        match asked {
            Asked::Order(order, to) => {
                let done = self.order(order, now);
                self.answers.push((to, done));
            }
            Asked::History(limit, to) => {
                let Some((store, _)) = self.store.clone() else {
                    let why = self.error.clone().unwrap_or_default();
                    let _ = to.send(Err(why));
                    return;
                };
                self.tests.spawn(async move {
                    let _ = to.send(store.past(limit).await.map_err(|error| error.to_string()));
                });
            }
            Asked::Test(wanted, to) => {
                let setup = self.of.setup.load_full();
                self.tests.spawn(async move {
                    let _ = to.send(test(&setup, wanted).await);
                });
            }
        }
    }

    fn order(&mut self, order: Order, now: u64) -> Result<(), String> {
        match order {
            Order::Acknowledge { id, owner } => self.desk.acknowledge(&id, &owner, now).map(drop),
            Order::Silence { matching, owner, why, lasts } => {
                let until = now.saturating_add(lasts.as_millis() as u64);
                let silence = Silence { id: String::new(), matching, owner, why, from: now, until };
                self.desk.silence(silence, now).map(drop)
            }
            Order::Unsilence { id, owner } => self.desk.unsilence(&id, &owner, now),
        }
    }

    fn publish(&self, setup: &Setup) {
        let step = |group: &str| self.desk.escalated(group).map_or(0, |g| g.step as u64 + 1);
        let mut open: Vec<AlertView> = self
            .desk
            .open()
            .map(|a| AlertView {
                id: a.id.clone(),
                alert: a.finding.alert.clone(),
                severity: a.finding.severity.label().into(),
                service: a.finding.service.clone(),
                labels: a.finding.all_labels(),
                what: a.finding.what.clone(),
                why: a.finding.why.clone(),
                affected: a.finding.affected.clone(),
                done: a.finding.done.clone(),
                next: a.finding.next.clone(),
                since_unix_ms: a.since,
                fired_unix_ms: a.fired,
                acknowledged_by: a.acknowledged.as_ref().map(|by| by.owner.clone()),
                silenced: a.silenced.clone(),
                group: a.group.clone(),
                step: if a.told.is_empty() { 0 } else { step(&a.group) },
                told: a.told.iter().cloned().collect(),
            })
            .collect();
        open.sort_by_key(|alert| alert.fired_unix_ms);
        let silences = self.desk.silences().map(|s| SilenceView {
            id: s.id.clone(),
            matching: s.matching.clone(),
            owner: s.owner.clone(),
            why: s.why.clone(),
            until_unix_ms: s.until,
        });
        self.of.view.store(Arc::new(AlertsView {
            error: self.error.clone(),
            open,
            silences: silences.collect(),
            channels: self.senders.views(setup, &self.desk),
            sources: sources(setup),
            overflow: self.desk.overflow,
        }));
    }
}

fn sources(setup: &Setup) -> Vec<SourceView> {
    let own = REGISTRY.iter().map(|source| {
        let said = setup.sources.get(source.name()).cloned().unwrap_or_default();
        let usual = Duration::from_millis(source.lasting());
        SourceView {
            name: source.name().into(),
            about: source.about().into(),
            severity: said.severity.unwrap_or(source.severity()).label().into(),
            for_seconds: said.lasting.unwrap_or(usual).as_secs(),
            enabled: said.enabled != Some(false),
        }
    });
    let rules = setup.rules.iter().map(|rule| SourceView {
        name: rule.name.clone(),
        about: format!("{} of check {} by its own threshold", rule.measure, rule.check),
        severity: rule.severity.label().into(),
        for_seconds: rule.lasting.as_secs(),
        enabled: true,
    });
    own.chain(rules).collect()
}

async fn test(setup: &Setup, wanted: Option<String>) -> Result<Vec<TriedView>, String> {
    let chosen =
        setup.channels.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|w| w == *name));
    let mut all = Vec::new();
    for (name, way) in chosen {
        all.push(try_one(name, &way.channel).await);
    }
    match (all.is_empty(), wanted) {
        (true, Some(name)) => Err(format!("there is no channel `{name}`")),
        _ => Ok(all),
    }
}

async fn open(path: &Path) -> Result<(Arc<AlertFile>, u64, Vec<Doc>), String> {
    let writer = format!("process {}", std::process::id());
    let store = AlertFile::open(path, writer).await.map_err(|e| e.to_string())?;
    let epoch = store.take().await.map_err(|e| e.to_string())?;
    let docs = store.load().await.map_err(|e| e.to_string())?;
    Ok((Arc::new(store), epoch, docs))
}
