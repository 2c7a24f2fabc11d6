//! Measures services and moves them between levels of degradation.

use super::orders::{Order, Orders};
use super::source::GatewayState;
use evenkeel_domain::answers::Degrade;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::histogram::Snapshot;
use evenkeel_domain::settings::{ServiceSettings, Tier};
use evenkeel_domain::{Gate, Outcome, Pool, clock, outcome};
use evenkeel_gateway::degrade::decide::{Ladder, Measures};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often services are measured.
const LOOK: Duration = Duration::from_millis(250);
/// Looks that times to first token span (30 s), and errors (a minute).
const TIMES: usize = 120;
const ERRORS: usize = 240;
/// Requests below which nothing is concluded.
const ENOUGH: u64 = 20;

/// Measures until the process ends.
pub(super) async fn run(state: Arc<GatewayState>, orders: Arc<Orders>) {
    let mut known: HashMap<String, Known> = HashMap::new();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look(&state, &orders, &mut known, clock::now());
    }
}

fn look(state: &GatewayState, orders: &Orders, known: &mut HashMap<String, Known>, now: Instant) {
    let mut services = state.services();
    services.retain(|(settings, pool)| {
        let kept = settings.answers.degrade.is_some();
        if !kept && pool.counts.answers.degrade_level.load(Relaxed) != 0 {
            // No longer configured: everything is done.
            pool.counts.answers.degrade_level.store(0, Relaxed);
        }
        kept
    });
    known.retain(|name, _| services.iter().any(|(s, _)| s.name == *name));
    let pressures: Vec<(f64, &'static str)> = services
        .iter()
        .filter_map(|(settings, pool)| {
            let degrade = settings.answers.degrade.as_ref()?;
            let seen = known.entry(settings.name.clone()).or_insert_with(|| Known::new(pool));
            Some(seen.measure(pool).pressure(degrade))
        })
        .collect();
    for (at, (settings, pool)) in services.iter().enumerate() {
        let Some(degrade) = &settings.answers.degrade else { continue };
        let own = pressures.get(at).copied().unwrap_or((0.0, "nothing"));
        let pressure = match settings.tier {
            Tier::Core => own,
            // What shares its hosts with core services gives way to them.
            Tier::BestEffort => services
                .iter()
                .zip(&pressures)
                .filter(|((s, p), _)| s.tier == Tier::Core && share_a_host(p, pool))
                .map(|(_, pressure)| *pressure)
                .fold(own, |worst, one| if one.0 > worst.0 { one } else { worst }),
        };
        let order = orders.of(&settings.name);
        if let Some(seen) = known.get_mut(&settings.name) {
            step(state, seen, settings, degrade, pool, pressure, order, now);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one place, where all of it meets")]
fn step(
    state: &GatewayState,
    seen: &mut Known,
    settings: &ServiceSettings,
    degrade: &Degrade,
    pool: &Pool,
    (pressure, what): (f64, &str),
    order: Option<Order>,
    now: Instant,
) {
    let from = seen.ladder.level();
    let by_hand = order.as_ref().and_then(|o| u8::try_from(o.value).ok());
    let changed = seen.ladder.step(pressure, by_hand, settings.tier, degrade, now);
    let Some(to) = changed else { return };
    pool.counts.answers.degrade_level.store(to.into(), Relaxed);
    pool.counts.answers.degrade_changes.fetch_add(1, Relaxed);
    let why = match order {
        Some(order) => format!("ordered by {}", order.owner),
        None => format!("{what} at {:.0} % of its threshold", pressure * 100.0),
    };
    let service = settings.name.clone();
    tracing::warn!(service, from, to, why, "level of degradation changed");
    state.shared.events.push(EventKind::Degraded { service, from, to, why });
}

fn share_a_host(a: &Pool, b: &Pool) -> bool {
    let hosts: HashSet<String> =
        a.members().iter().map(|r| r.id.endpoint.host.to_string()).collect();
    b.members().iter().any(|r| hosts.contains(&*r.id.endpoint.host))
}

/// What is known of one service.
struct Known {
    ladder: Ladder,
    times: VecDeque<Snapshot>,
    /// Requests that ended, and those that failed.
    ended: VecDeque<(u64, u64)>,
}

impl Known {
    fn new(pool: &Pool) -> Self {
        let level = pool.counts.answers.degrade_level.load(Relaxed);
        let ladder = Ladder::new(u8::try_from(level).unwrap_or(0));
        Self { ladder, times: VecDeque::new(), ended: VecDeque::new() }
    }

    fn measure(&mut self, pool: &Pool) -> Measures {
        let times = pool.counts.first_token.snapshot();
        let recent = self.times.front().map(|before| times.since(before));
        let recent = recent.filter(|times| times.count() >= ENOUGH);
        keep(&mut self.times, times, TIMES);
        let ended = ended(pool);
        let (all, bad) = self.ended.front().map_or((0, 0), |(all, bad)| {
            (ended.0.saturating_sub(*all), ended.1.saturating_sub(*bad))
        });
        keep(&mut self.ended, ended, ERRORS);
        Measures {
            load: load(pool),
            held: pool.counts.held.load(Relaxed),
            first_token: recent.and_then(|times| times.quantile(0.99)),
            errors: (all >= ENOUGH).then(|| bad as f64 / all as f64),
        }
    }
}

fn keep<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}

/// Share of the room of open replicas that is in use.
fn load(pool: &Pool) -> Option<f64> {
    let members = pool.members();
    let bounded = members.iter().filter(|r| r.live.gate() == Gate::Open && r.is_bounded());
    let (used, room) =
        bounded.fold((0, 0), |(used, room), r| (used + r.live.in_flight(), room + r.bound()));
    (room > 0).then(|| f64::from(used) / f64::from(room))
}

/// Requests that count for or against the service, and those against. What it refuses
/// because of its level is neither: else it would never recover.
fn ended(pool: &Pool) -> (u64, u64) {
    let good = pool.counts.requests(Outcome::Ok);
    let failed = |o: &Outcome| o.blames_replica() || *o == Outcome::Expired;
    let bad = outcome::ALL.into_iter().filter(failed).map(|o| pool.counts.requests(o)).sum::<u64>();
    (good + bad, bad)
}
