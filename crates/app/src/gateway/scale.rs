//! Measures scaled services and tells the keeper how many copies shall run.
//!
//! ```text
//!   pools ─► Measures ─► Series ─► plan (pure) ─► keeper ─► Sizes ─► here again
//!             recovery: storm, pauses, incidents ─┘
//! ```

use super::orders::Orders;
use super::source::GatewayState;
use crate::config::Config;
use crate::link::ToKeeper;
use arc_swap::ArcSwap;
use evenkeel_admin::view::ScaleView;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::histogram::Snapshot;
use evenkeel_domain::incident::{Cause, Incident, Phase};
use evenkeel_domain::settings::Scale;
use evenkeel_domain::{Gate, Pool, clock};
use evenkeel_recovery::scale::{Held, Measures, Series, Situation, plan};
use evenkeel_recovery::{Board, View};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often services are measured.
const LOOK: Duration = Duration::from_millis(500);
/// Looks that times to first token span (30 s).
const TIMES: usize = 60;
/// First tokens below which nothing is concluded.
const ENOUGH: u64 = 10;
/// How long the keeper is given before it is told again.
const TOLD: Duration = Duration::from_secs(5);

/// How one service is scaled.
#[derive(Debug, Clone)]
struct Rule {
    scale: Scale,
    floor: u32,
}

/// Scales services until its gateway drains.
pub(super) struct Scaling {
    rules: ArcSwap<BTreeMap<String, Rule>>,
    state: Arc<GatewayState>,
    board: Arc<Board>,
    orders: Arc<Orders>,
    to_keeper: mpsc::Sender<ToKeeper>,
}

/// What is remembered of one service.
#[derive(Default)]
struct Known {
    series: Series,
    times: VecDeque<Snapshot>,
    /// The size that the keeper was told last, and when.
    told: Option<(u32, Instant)>,
    view: ScaleView,
}

impl Scaling {
    pub(super) fn new(
        config: &Config,
        state: &Arc<GatewayState>,
        board: Arc<Board>,
        orders: Arc<Orders>,
        to_keeper: mpsc::Sender<ToKeeper>,
    ) -> Arc<Self> {
        let rules = ArcSwap::from_pointee(rules(config));
        Arc::new(Self { rules, state: state.clone(), board, orders, to_keeper })
    }

    /// A new configuration is in force.
    pub(super) fn configure(&self, config: &Config) {
        self.rules.store(Arc::new(rules(config)));
    }

    /// Looks until this gateway drains: then its successor does.
    pub(super) async fn run(self: Arc<Self>) {
        let mut known: HashMap<String, Known> = HashMap::new();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut draining = self.state.shared.draining.subscribe();
        loop {
            tokio::select! {
                _ = tick.tick() => self.look(&mut known, clock::now()),
                _ = draining.wait_for(|draining| *draining) => return,
            }
        }
    }

    fn look(&self, known: &mut HashMap<String, Known>, now: Instant) {
        let rules = self.rules.load();
        known.retain(|name, _| rules.contains_key(name));
        let sizes = self.state.sizes();
        for (name, rule) in rules.iter() {
            let services = self.state.services();
            let pool = services.iter().find(|(s, _)| s.name == *name).map(|(_, pool)| pool);
            let size = sizes.as_ref().and_then(|sizes| sizes.get(name).copied());
            if let (Some(pool), Some(size)) = (pool, size) {
                self.one(name, rule, pool, size, known.entry(name.clone()).or_default(), now);
            }
        }
        let views = known.iter().map(|(name, known)| (name.clone(), known.view.clone()));
        self.state.set_scales(views.collect());
    }

    fn one(
        &self,
        name: &str,
        rule: &Rule,
        pool: &Pool,
        size: u32,
        known: &mut Known,
        now: Instant,
    ) {
        let seen = measure(pool, &mut known.times);
        known.series.observe(&rule.scale, size, seen.as_ref(), now);
        if let Some(before) = now.checked_sub(rule.scale.down_after * 2) {
            known.series.forget(before);
        }
        let order = self.orders.of(name);
        let held = self.held(name, size);
        let view = self.board.view();
        let least = at_least(&view, name);
        let at = Situation {
            size,
            steady: steady(name, size, pool),
            floor: rule.floor,
            ordered: order.as_ref().map(|order| (order.value, order.owner.as_str())),
            at_least: least,
            held: &held,
        };
        let plan = plan(&rule.scale, &known.series, &at, now);
        let view = &mut known.view;
        (view.copies, view.min, view.max) = (size, rule.scale.min, rule.scale.max);
        view.ordered_by = order.as_ref().map(|order| order.owner.clone());
        view.ordered_until_unix_ms = order.as_ref().and_then(|order| order.until_unix_ms);
        view.why.clone_from(&plan.why);
        let waits =
            known.told.is_some_and(|(told, at)| told == plan.size && now.duration_since(at) < TOLD);
        if plan.size == size || waits {
            return;
        }
        let message = ToKeeper::Scale { service: name.to_owned(), copies: plan.size };
        if self.to_keeper.try_send(message).is_err() {
            return;
        }
        known.told = Some((plan.size, now));
        view.copies = plan.size;
        match plan.size > size {
            true => view.ups += 1,
            false => view.downs += 1,
        }
        view.last_why = format!("{size} to {}: {}", plan.size, plan.why);
        view.last_unix_ms = Some(clock::unix_millis());
        tracing::info!(service = name, from = size, to = plan.size, why = plan.why, "scaled");
        let (service, why) = (name.to_owned(), plan.why);
        let kind = EventKind::Scaled { service, from: size, to: plan.size, why };
        self.state.shared.events.push(kind);
    }

    /// What recovery does, or was forbidden to do, holds here, too.
    fn held(&self, service: &str, size: u32) -> Held {
        let view = self.board.view();
        let now = clock::unix_millis();
        let all = match &view.standing.storm {
            Some(storm) => Some(format!("recovery is stopped: {}", storm.why)),
            None => view
                .standing
                .pause_of(service, now)
                .map(|pause| format!("paused by {}: {}", pause.owner, pause.why)),
        };
        // What only may come about, and waits, holds up nobody.
        let waits = |i: &Incident| i.cause == Cause::Forecast && i.phase == Phase::Confirmed;
        let open = view.open.iter().find(|(i, _)| i.service == service && !waits(i));
        let leaving = self
            .state
            .instances()
            .iter()
            .find(|i| i.service == service && number(service, &i.name) >= Some(size))
            .map(|leaving| format!("{} still ends what it has begun", leaving.name));
        let incident = open.map(|(i, _)| format!("incident {} of {} is open", i.id, i.target));
        Held { all, down: incident.or(leaving) }
    }
}

/// The most copies that an open incident of a service holds, with its number.
fn at_least<'a>(view: &'a View, service: &str) -> Option<(u32, &'a str)> {
    let open = view.open.iter().filter(|(incident, _)| incident.service == service);
    open.filter_map(|(incident, _)| Some((incident.copies()?, incident.id.as_str()))).max()
}

fn rules(config: &Config) -> BTreeMap<String, Rule> {
    let floor = config.recovery.floor;
    let scaled = config.service.iter().filter_map(|service| {
        Some((service.name.clone(), Rule { scale: service.scale.clone()?, floor }))
    });
    scaled.collect()
}

/// The number of a copy of a service.
pub(super) fn number(service: &str, replica: &str) -> Option<u32> {
    replica.strip_prefix(service)?.strip_prefix('-')?.parse().ok()
}

/// How many of the lowest numbers take traffic without a gap.
fn steady(service: &str, size: u32, pool: &Pool) -> u32 {
    let members = pool.members();
    let open: Vec<u32> = members
        .iter()
        .filter(|replica| replica.live.gate() == Gate::Open)
        .filter_map(|replica| number(service, &replica.id.name))
        .collect();
    (0..size).take_while(|n| open.contains(n)).count().try_into().unwrap_or(0)
}

/// One look; `None` while nobody serves, which says nothing of how many are needed.
fn measure(pool: &Pool, times: &mut VecDeque<Snapshot>) -> Option<Measures> {
    let snapshot = pool.counts.first_token.snapshot();
    let recent = times.front().map(|before| snapshot.since(before));
    let recent = recent.filter(|times| times.count() >= ENOUGH);
    if times.len() == TIMES {
        times.pop_front();
    }
    times.push_back(snapshot);
    let members = pool.members();
    let open: Vec<_> = members.iter().filter(|r| r.live.gate() == Gate::Open).collect();
    if open.is_empty() {
        return None;
    }
    let bounded = open.iter().all(|replica| replica.is_bounded());
    Some(Measures {
        open: u32::try_from(open.len()).unwrap_or(u32::MAX),
        waiting: pool.counts.held.load(Relaxed),
        under_way: members.iter().map(|replica| replica.live.in_flight()).sum(),
        room: bounded.then(|| open.iter().map(|replica| replica.bound()).sum()),
        first_token: recent.and_then(|times| times.quantile(0.9)),
    })
}
