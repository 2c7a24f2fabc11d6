//! What sources look at: services, incidents, budgets, checks and Evenkeel's own parts.

use super::super::slo::look;
use super::Alerts;
use super::send::Senders;
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::slo::Budgets;
use evenkeel_domain::{Gate, Pool, clock};
use evenkeel_notify::source::{Broken, ServiceSeen, Stands, World};
use evenkeel_slo::account::Sample;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Over what time failed requests are counted, in milliseconds.
const MINUTE: u64 = 60_000;
/// How long a refused query of death is news.
const NEWS: u64 = 600_000;
/// How far two readings of a service's counts are apart at least.
const STEP: u64 = 1_000;

/// What was seen of services earlier.
#[derive(Default)]
pub(super) struct Memory(HashMap<String, Past>);

/// One service earlier.
struct Past {
    /// Which: one that comes anew under the same name counts anew.
    pool: Arc<Pool>,
    was_up: bool,
    /// (when, requests answered well and badly), oldest first.
    counts: VecDeque<(u64, [u64; 2])>,
    /// (when, quarantined until then).
    quarantined: VecDeque<(u64, u64)>,
}

impl Past {
    fn new(pool: &Arc<Pool>) -> Self {
        let empty = VecDeque::new();
        Self { pool: pool.clone(), was_up: false, counts: empty, quarantined: VecDeque::new() }
    }

    /// Reads the counters; gives (bad, valid) of the last minute.
    fn failed(&mut self, now: u64) -> (u64, u64) {
        let [good, bad, _] = self.pool.counts.slo.read();
        while self.counts.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= MINUTE) {
            self.counts.pop_front();
        }
        if self.counts.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= STEP) {
            self.counts.push_back((now, [good, bad]));
        }
        let then = self.counts.front().map_or([good, bad], |(_, then)| *then);
        let (good, bad) = (good.saturating_sub(then[0]), bad.saturating_sub(then[1]));
        (bad, good + bad)
    }

    fn quarantined(&mut self, now: u64) -> u64 {
        let all = self.pool.counts.quarantined.load(Relaxed);
        let before = self.quarantined.back().map_or(0, |(_, n)| *n);
        if all > before || self.quarantined.is_empty() {
            self.quarantined.push_back((now, all));
        }
        while self.quarantined.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= NEWS) {
            self.quarantined.pop_front();
        }
        all.saturating_sub(self.quarantined.front().map_or(0, |(_, n)| *n))
    }
}

/// Everything at this moment.
pub(super) fn look(
    of: &Alerts,
    memory: &mut Memory,
    senders: &Senders,
    error: Option<&str>,
) -> World {
    let now = clock::unix_millis();
    let services = of.state.services();
    memory.0.retain(|name, _| services.iter().any(|(settings, _)| settings.name == *name));
    let age = clock::now().saturating_duration_since(of.begun);
    let samples = look::all(&services, &of.overrides, &of.recovery, age);
    let view = of.recovery.board.view();
    let nodes = of.state.nodes().into_iter().filter(|node| !node.presence.is_reached());
    let service = |(settings, pool): &(Arc<ServiceSettings>, Arc<Pool>)| {
        let past = memory.0.entry(settings.name.clone()).or_insert_with(|| Past::new(pool));
        if !Arc::ptr_eq(&past.pool, pool) {
            *past = Past::new(pool);
        }
        seen(settings, pool, past, &samples, now)
    };
    World {
        services: services.iter().map(service).collect(),
        incidents: view.open.clone(),
        storm: view.standing.storm.clone(),
        budgets: of.account.subscribe().borrow().clone(),
        checks: of.state.checks(),
        urgent: of.setup.load().urgent.clone(),
        broken: broken(of, error),
        nodes: nodes
            .map(|n| (n.name, n.why.unwrap_or_else(|| n.presence.label().to_owned())))
            .collect(),
        channels: senders.mute(),
    }
}

fn seen(
    settings: &ServiceSettings,
    pool: &Pool,
    past: &mut Past,
    samples: &BTreeMap<String, Sample>,
    now: u64,
) -> ServiceSeen {
    let stands = match samples.get(&settings.name) {
        Some(Sample::Up) => Stands::Up,
        Some(Sample::Down) => Stands::Down,
        Some(Sample::Planned) => Stands::Planned,
        _ => Stands::Unknown,
    };
    past.was_up |= stands == Stands::Up;
    let members = pool.members();
    let out = members.iter().filter(|r| r.live.duty().is_on() && r.live.gate() != Gate::Open);
    let out = out
        .map(|r| (r.id.name.to_string(), format!("{}: {}", r.live.health().label(), r.live.why())));
    ServiceSeen {
        name: settings.name.clone(),
        tier: settings.tier.label(),
        stands,
        was_up: past.was_up,
        open: (pool.open(), pool.expected()),
        out: out.collect(),
        failed: past.failed(now),
        stand_in: pool.stand_in().map(|to| to.to_string()),
        quarantined: past.quarantined(now),
    }
}

fn broken(of: &Alerts, error: Option<&str>) -> Vec<Broken> {
    let parts = [
        ("recovery", of.recovery.board.why_not()),
        ("account", of.account.why_not()),
        ("alerts", error.map(str::to_owned)),
        ("reload", of.state.refusal()),
    ];
    parts.into_iter().filter_map(|(part, why)| Some(Broken { part, why: why? })).collect()
}
