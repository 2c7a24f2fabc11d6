//! The account of availability in this process: on a thread of its own, so that an fsync holds
//! up neither clients nor health.
//!
//! ```text
//!   pools ─► gates, counts ─► accountant ─┬─► store, every 2 s, by differences
//!   overrides, pauses ──────►   (pure)    ├─► budgets ─► alerts, drills (a watch channel)
//!   journal ─► incidents ─────────────────┴─► admin API, metrics
//! ```
//! It begins once this gateway serves. The time is the newest gateway's to keep: one that drains
//! goes on counting the requests it has, and the store refuses its time.

mod clocks;
pub(super) mod look;
mod tell;

use super::overrides::Overrides;
use super::recovery::Recovery;
use super::source::GatewayState;
use arc_swap::ArcSwap;
use evenkeel_admin::view::SloView;
use evenkeel_domain::durable::StoreError;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::slo::{Added, Axis, BudgetState, Budgets, Clocks, Delta, SloStore};
use evenkeel_domain::{Pool, clock};
use evenkeel_slo::account::{Accountant, Sample};
use evenkeel_slo::ledger::{oldest_hour, oldest_minute};
use evenkeel_store::SloFile;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tell::Teller;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often services are looked at: an outage is known to within twice that.
const LOOK: Duration = Duration::from_millis(250);
/// Looks from one judgement of the rules to the next: a second.
const JUDGED: u64 = 4;
/// Looks from one write to the next: two seconds, the most that a crash takes away.
pub(super) const WRITTEN: u64 = 8;
/// Looks from one clearing of what is too old to the next: an hour.
const CLEARED: u64 = 4 * 3600;
/// How long until a file that cannot be opened is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the last write may take once this gateway ends.
const ENDS: Duration = Duration::from_secs(1);

/// What others in this process know of the account.
pub(super) struct Account {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
    recovery: Arc<Recovery>,
    view: ArcSwap<SloView>,
    budgets: watch::Sender<Arc<Vec<BudgetState>>>,
    clock_steps: AtomicU64,
    broken: ArcSwap<Option<String>>,
    /// Set when this process ends.
    ends: watch::Sender<bool>,
    /// Whether the thread has ended, or never began.
    over: watch::Sender<bool>,
}

impl Budgets for Account {
    fn subscribe(&self) -> watch::Receiver<Arc<Vec<BudgetState>>> {
        self.budgets.subscribe()
    }
}

impl Account {
    /// An account that is not kept yet.
    pub(super) fn new(
        state: &Arc<GatewayState>,
        overrides: &Arc<Overrides>,
        recovery: &Arc<Recovery>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: state.clone(),
            overrides: overrides.clone(),
            recovery: recovery.clone(),
            view: ArcSwap::default(),
            budgets: watch::Sender::default(),
            clock_steps: AtomicU64::new(0),
            broken: ArcSwap::from_pointee(Some("the account has not begun yet".into())),
            ends: watch::Sender::new(false),
            over: watch::Sender::new(true),
        })
    }

    /// What services promised and kept, from memory.
    pub(super) fn view(&self) -> SloView {
        SloView {
            error: (**self.broken.load()).clone(),
            clock_steps: self.clock_steps.load(Relaxed),
            written_every_seconds: (LOOK * WRITTEN as u32).as_secs_f64(),
            ..(**self.view.load()).clone()
        }
    }

    /// It cannot be kept; counting goes on.
    pub(super) fn broken(&self, why: &str) {
        let known = self.broken.load().as_deref() == Some(why);
        if !known {
            tracing::error!(why, "the account of availability is not written");
            self.broken.store(Arc::new(Some(why.to_owned())));
        }
    }

    /// Why it is not kept; `None` while it is.
    pub(super) fn why_not(&self) -> Option<String> {
        (**self.broken.load()).clone()
    }

    fn works(&self) {
        if self.broken.load().is_some() {
            self.broken.store(Arc::new(None));
        }
    }

    /// Begins, on a thread of its own.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(self: &Arc<Self>, path: PathBuf) -> io::Result<()> {
        let account = self.clone();
        self.over.send_replace(false);
        let begun = std::thread::Builder::new().name("slo".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(account.run(path));
                    runtime.shutdown_background();
                }
                Err(error) => account.broken(&error.to_string()),
            }
            account.over.send_replace(true);
        });
        begun.map(drop).inspect_err(|_| {
            self.over.send_replace(true);
        })
    }

    /// Writes what is left and ends: the last thing before this process does.
    pub(super) async fn end(&self, within: Duration) {
        self.ends.send_replace(true);
        let mut over = self.over.subscribe();
        if timeout(within, over.wait_for(|over| *over)).await.is_err() {
            tracing::warn!("the account of availability was not closed in time");
        }
    }

    async fn run(&self, path: PathBuf) {
        let mut ends = self.ends.subscribe();
        let opened = tokio::select! {
            opened = self.open(path) => opened,
            _ = ends.wait_for(|ends| *ends) => return,
        };
        let (store, account) = opened;
        let mut keeper = Keeper {
            account,
            store,
            seen: HashMap::new(),
            teller: Teller::default(),
            writing: None,
            begun: clock::now(),
        };
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0u64.. {
            tokio::select! {
                _ = tick.tick() => {}
                _ = ends.wait_for(|ends| *ends) => break,
            }
            let now = clocks::read();
            keeper.look(self, &now);
            keeper.written(self).await;
            if look % WRITTEN == 0 {
                keeper.write(&now);
            }
            if look % JUDGED == 0 {
                keeper.tell(self, &now).await;
            }
            if look % CLEARED == 0 {
                keeper.clear(&now).await;
            }
        }
        keeper.finish(self).await;
    }

    /// Opens the account and takes it over, however long that takes; says why it cannot be.
    async fn open(&self, path: PathBuf) -> (Arc<SloFile>, Accountant) {
        let writer = format!("process {}", std::process::id());
        loop {
            match begin(&path, &writer).await {
                Ok(begun) => {
                    self.works();
                    return begun;
                }
                Err(why) => self.broken(&why),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Publishes where budgets stand, and says what has changed.
    fn publish(&self, view: SloView, states: Vec<BudgetState>) {
        let before = self.budgets.borrow().clone();
        for (service, firing, fires, left) in tell::changes(&before, &states) {
            let why = format!(
                "burns {:.1} times too fast over the long window, {:.1} over the short one; {}",
                firing.long,
                firing.short,
                left.map_or("budget unknown".into(), |left| format!("{:.1} % left", left * 100.0))
            );
            let (rule, sli, severity) = (firing.rule, firing.sli.label(), firing.severity.label());
            match fires {
                true => tracing::warn!(service, rule, sli, severity, why, "error budget burns"),
                false => tracing::info!(service, rule, sli, "error budget no longer burns"),
            }
            self.state.shared.events.push(EventKind::Budget {
                service: service.to_owned(),
                rule: rule.to_owned(),
                sli: sli.to_owned(),
                severity: severity.to_owned(),
                firing: fires,
                why,
            });
        }
        self.view.store(Arc::new(view));
        self.budgets.send_replace(Arc::new(states));
    }
}

async fn begin(path: &std::path::Path, writer: &str) -> Result<(Arc<SloFile>, Accountant), String> {
    let store = SloFile::open(path, writer.to_owned()).await.map_err(|e| e.to_string())?;
    let now = clocks::read();
    let told = |e: StoreError| e.to_string();
    let taken = store.take(&now).await.map_err(told)?;
    let kept = store.load().await.map_err(told)?;
    if taken.gap_ms > 0 {
        tracing::info!(unknown_ms = taken.gap_ms, "the account of availability goes on");
    }
    Ok((Arc::new(store), Accountant::new(&taken, &now, kept)))
}

type Wrote = (Axis, Vec<Delta>, Result<Added, StoreError>);

/// What keeps the account while this process lives.
struct Keeper {
    account: Accountant,
    store: Arc<SloFile>,
    /// What was read last of each pool: one that comes anew under the same name counts anew.
    seen: HashMap<String, (Arc<Pool>, [u64; 3])>,
    teller: Teller,
    /// One write at a time; looks go on meanwhile.
    writing: Option<JoinHandle<Wrote>>,
    begun: Instant,
}

impl Keeper {
    /// Samples services and counts their requests.
    fn look(&mut self, of: &Account, now: &Clocks) {
        let services = of.state.services();
        let age = clock::now().saturating_duration_since(self.begun);
        // Who drains takes nothing new: the time is a successor's, or nobody's.
        let states = match *of.state.shared.draining.borrow() {
            true => services.iter().map(|(s, _)| (s.name.clone(), Sample::Unknown)).collect(),
            false => look::all(&services, &of.overrides, &of.recovery, age),
        };
        if let Some(step) = self.account.sample(now, states) {
            of.clock_steps.fetch_add(1, Relaxed);
            let seconds = step as f64 / 1e3;
            tracing::warn!(
                seconds,
                "the wall clock was stepped; the account goes on by the machine's clock"
            );
        }
        self.seen.retain(|name, _| services.iter().any(|(s, _)| s.name == *name));
        for (settings, pool) in services {
            let counted = pool.counts.slo.read();
            let seen = self.seen.entry(settings.name.clone()).or_insert((pool.clone(), [0; 3]));
            if !Arc::ptr_eq(&seen.0, &pool) {
                *seen = (pool.clone(), [0; 3]);
            }
            let more = std::array::from_fn(|n| counted[n].saturating_sub(seen.1[n]));
            seen.1 = counted;
            self.account.count(now, &settings.name, more);
        }
    }

    /// Begins to write, unless the last write still goes on.
    fn write(&mut self, now: &Clocks) {
        if self.writing.is_some() {
            return;
        }
        let (deltas, axis) = (self.account.deltas(now), self.account.at(now));
        let (store, epoch, now) = (self.store.clone(), self.account.epoch(), now.clone());
        self.writing = Some(tokio::spawn(async move {
            let added = store.add(epoch, &now, axis, &deltas).await;
            (axis, deltas, added)
        }));
    }

    /// Takes what has come of a write, if it has ended.
    async fn written(&mut self, of: &Account) {
        let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) else { return };
        if let Ok(wrote) = writing.await {
            self.wrote(of, wrote);
        }
    }

    fn wrote(&mut self, of: &Account, (axis, deltas, added): Wrote) {
        match added {
            Ok(added) => {
                self.account.absorb(axis, &added);
                of.works();
            }
            Err(error) => {
                self.account.restore(deltas);
                of.broken(&error.to_string());
            }
        }
    }

    async fn tell(&mut self, of: &Account, now: &Clocks) {
        self.teller.incidents(&of.recovery).await;
        let services = of.state.services();
        let (view, states) = self.teller.all(&self.account, &services, now);
        of.publish(view, states);
    }

    async fn clear(&mut self, now: &Clocks) {
        let at = self.account.at(now);
        self.account.trim(now);
        let epoch = self.account.epoch();
        match self.store.prune(epoch, oldest_minute(at), oldest_hour(at)).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "what is too old of the account was deleted"),
            // The next write says so to people, if it lasts.
            Err(error) => tracing::debug!(%error, "the account was not cleared"),
        }
    }

    /// The last write, with all that was counted.
    async fn finish(mut self, of: &Account) {
        let ended = timeout(ENDS, async {
            if let Some(writing) = self.writing.take()
                && let Ok(wrote) = writing.await
            {
                self.wrote(of, wrote);
            }
            let now = clocks::read();
            self.look(of, &now);
            let (deltas, axis) = (self.account.deltas(&now), self.account.at(&now));
            self.store.add(self.account.epoch(), &now, axis, &deltas).await
        });
        match ended.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the account was not written at the end"),
            Err(_) => tracing::warn!("the account was not written at the end: no answer in time"),
        }
    }
}
