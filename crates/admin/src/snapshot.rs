//! From atomics to the snapshot.

use crate::answers;
use crate::ports::{AdminState, Source};
use crate::view::{
    BudgetLine, CheckView, GatewayView, JobView, Latency, NodeView, ProcessView, Readiness,
    ReplicaView, ServiceView, Snapshot, StandbyView, ViaView,
};
use crate::window::{Tally, Window};
use evenkeel_domain::detour::Via;
use evenkeel_domain::histogram;
use evenkeel_domain::orchestrator::{InstanceStatus, Phase};
use evenkeel_domain::pool::RESUMED;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::room::Told;
use evenkeel_domain::settings::{Protocol, ServiceSettings, Tier};
use evenkeel_domain::standby::Duty;
use evenkeel_domain::{Abilities, Gate, Health, Outcome, Pool, Replica, clock, outcome};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long what a replica said of its load is shown.
const NEWS: Duration = Duration::from_secs(5);

/// One reading of both clocks, to turn monotonic times into those of the wall.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    unix_ms: u64,
    span: f64,
}

impl Moment {
    fn unix(&self, at_ms: u64) -> u64 {
        let age = clock::millis(self.now).saturating_sub(at_ms);
        self.unix_ms.saturating_sub(age)
    }
}

/// Everything at this moment.
pub(crate) fn take(state: &AdminState, window: &Window) -> Snapshot {
    let now = clock::now();
    let span = window.span(now).as_secs_f64();
    let at = Moment { now, unix_ms: clock::unix_millis(), span };
    // Before the state is read: an event in between is told twice rather than never.
    let cursor = *state.events.watch().borrow();
    let mut instances: HashMap<String, InstanceStatus> =
        state.source.instances().into_iter().map(|i| (i.name.clone(), i)).collect();
    let mut scales = state.source.scales();
    let mut standbys = state.source.standbys();
    let slo = state.source.slo().unwrap_or_default();
    let budget = |service: &str| slo.services.iter().find(|s| s.service == service);
    let services = state
        .source
        .services()
        .iter()
        .map(|(settings, pool)| service(settings, pool, &mut instances, window, at))
        .map(|view| ServiceView {
            scale: scales.remove(&view.name),
            budget: budget(&view.name).map(BudgetLine::of),
            ..view
        })
        .map(|view| {
            let standby = standbys.remove(&view.name);
            standing_by(view, standby)
        })
        .collect();
    let gateway = state.source.gateway();
    Snapshot {
        version: state.version.to_owned(),
        at_unix_ms: at.unix_ms,
        cursor,
        window_seconds: span,
        ready: readiness(&*state.source, &gateway).ready,
        gateway,
        services,
        overrides: state.source.overrides(),
        batch: state.source.batch(),
        keys: state.source.keys(),
        tenants: state.source.tenants(),
        nodes: state.source.nodes().into_iter().map(NodeView::from).collect(),
        jobs: state.source.jobs().into_iter().map(JobView::from).collect(),
        checks: state.source.checks().into_iter().map(CheckView::from).collect(),
        alerts: state.alerts.as_ref().map(|alerting| alerting.view()),
        recovery: state.recovery.as_ref().map(|healing| healing.view()),
    }
}

/// With how its standbys are used; one that was never started is shown, too.
fn standing_by(mut view: ServiceView, standby: Option<StandbyView>) -> ServiceView {
    for replica in view.replicas.iter_mut().filter(|replica| replica.url.is_empty()) {
        let known = standby.as_ref().and_then(|standby| standby.standbys.get(&replica.name));
        let Some(known) = known else { continue };
        replica.role = "standby".into();
        (replica.level, replica.duty) = (Some(known.level.clone()), known.duty.clone());
        if replica.health == Health::Stopped.label() {
            replica.why = "stands by, not started".into();
        }
    }
    ServiceView { standby, ..view }
}

/// Whether traffic is taken: the gateway does not drain, and every core service has a
/// replica that takes some, or another service that stands in.
pub(crate) fn readiness(source: &dyn Source, gateway: &GatewayView) -> Readiness {
    let services = source.services();
    let stood_in = |pool: &Pool| {
        let name = pool.stand_in();
        services.iter().any(|(_, other)| Some(&other.name) == name.as_ref() && other.open() > 0)
    };
    let not_ready: Vec<String> = services
        .iter()
        .filter(|(settings, pool)| {
            settings.tier == Tier::Core && pool.open() == 0 && !stood_in(pool)
        })
        .map(|(settings, _)| settings.name.clone())
        .collect();
    let draining = gateway.draining;
    Readiness { ready: not_ready.is_empty() && !draining, draining, not_ready }
}

fn service(
    settings: &ServiceSettings,
    pool: &Pool,
    instances: &mut HashMap<String, InstanceStatus>,
    window: &Window,
    at: Moment,
) -> ServiceView {
    let counts = &pool.counts;
    let recent = window.service(&pool.name, &Tally::of_pool(pool));
    let open = pool.open() as u64;
    ServiceView {
        name: settings.name.clone(),
        tier: settings.tier.label().into(),
        protocol: protocol(settings.protocol).into(),
        balance: settings.balance.clone(),
        models: settings.models.clone(),
        ready: open > 0,
        failed_over_to: pool.stand_in().map(|name| name.to_string()),
        open,
        expected: pool.expected() as u64,
        active: counts.active.load(Relaxed),
        held: counts.held.load(Relaxed) + counts.gathering.load(Relaxed),
        retrying: counts.retrying.load(Relaxed),
        requests: by_outcome(|outcome| counts.requests(outcome)),
        retries: counts.retries.load(Relaxed),
        resends: counts.resends.load(Relaxed),
        raced: counts.raced.load(Relaxed),
        hedges: counts.hedges.load(Relaxed),
        resumed: RESUMED.iter().zip(&counts.resumed).map(resumed).collect(),
        rescues: counts.rescues.load(Relaxed),
        broken_streams: counts.broken_streams.load(Relaxed),
        holds: counts.holds.load(Relaxed),
        refused: counts.refused_in_all(),
        refusals: Tier::ALL.map(|tier| (tier.label().to_owned(), refusals(pool, tier))).into(),
        overloaded: overloaded(pool),
        queue_wait: latency(&recent.queue_wait),
        unreplayable: counts.unreplayable.load(Relaxed),
        panics: counts.panics.load(Relaxed),
        quarantined: counts.quarantined.load(Relaxed),
        answers: answers::view(&counts.answers),
        events: counts.events.load(Relaxed),
        requests_per_second: recent.ended as f64 / at.span,
        errors_per_second: recent.errors as f64 / at.span,
        events_per_second: recent.events as f64 / at.span,
        first_byte: latency(&recent.first_byte),
        total: latency(&recent.total),
        scale: None,
        standby: None,
        budget: None,
        replicas: replicas(pool, instances, window, at),
    }
}

fn resumed((name, count): (&&str, &AtomicU64)) -> (String, u64) {
    ((*name).to_owned(), count.load(Relaxed))
}

fn refusals(pool: &Pool, tier: Tier) -> BTreeMap<String, u64> {
    Refused::ALL.map(|why| (why.label().to_owned(), pool.counts.refused(tier, why))).into()
}

fn overloaded(pool: &Pool) -> Vec<String> {
    let all = Tier::ALL.into_iter().filter(|tier| pool.counts.is_overloaded(*tier));
    all.map(|tier| tier.label().to_owned()).collect()
}

/// Members of the pool, and supervised instances that are not members yet.
fn replicas(
    pool: &Pool,
    instances: &mut HashMap<String, InstanceStatus>,
    window: &Window,
    at: Moment,
) -> Vec<ReplicaView> {
    let mut views: Vec<ReplicaView> = pool
        .members()
        .iter()
        .map(|member| replica(member, instances.remove(&*member.id.name), window, at))
        .collect();
    instances.retain(|_, instance| {
        let ours = instance.service == *pool.name;
        if ours {
            views.push(unplaced(instance, at));
        }
        !ours
    });
    views.sort_by(|a, b| in_order(&a.name).cmp(&in_order(&b.name)));
    views
}

/// Names end with a number: `chat-10` comes after `chat-9`.
fn in_order(name: &str) -> (&str, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0))
}

fn replica(
    replica: &Replica,
    instance: Option<InstanceStatus>,
    window: &Window,
    at: Moment,
) -> ReplicaView {
    let (id, live) = (&replica.id, &replica.live);
    let recent = window.replica(id.key, &Tally::of_replica(replica));
    ReplicaView {
        name: id.name.to_string(),
        url: id.endpoint.to_string(),
        revision: id.revision.to_string(),
        health: live.health().label().into(),
        gate: gate(live.gate()).into(),
        role: if id.standby.is_some() { "standby" } else { "active" }.into(),
        level: id.standby.as_ref().map(|standby| standby.level.label().to_owned()),
        duty: live.duty().label().into(),
        why: live.why().to_string(),
        since_unix_ms: at.unix(live.since_ms()),
        incarnation: live.incarnation().0,
        in_flight: live.in_flight(),
        max_in_flight: id.max_in_flight,
        limit: replica.bound(),
        limit_found: live.room.is_found(),
        waiting: told(replica, at.now).map(|told| told.waiting),
        weight: id.weight,
        ramp: f32::from(live.ramp()) / 1000.0,
        busy: live.is_busy(at.now),
        goes_on: goes_on(&replica.abilities),
        consecutive_faults: live.consecutive_faults(),
        outcomes: by_outcome(|outcome| live.count(outcome)),
        attempts_per_second: recent.ended as f64 / at.span,
        latency_ms: Some(live.latency()).filter(|mean| !mean.is_zero()).map(millis),
        first_byte: latency(&recent.first_byte),
        via: id.dial.via().map(|via| via_view(&via)),
        process: instance.map(|instance| process(&instance, at.unix_ms)),
    }
}

fn via_view(via: &Via) -> ViaView {
    ViaView {
        to: via.to.to_string(),
        owner: via.owner.clone(),
        why: via.why.clone(),
        since_unix_ms: via.since_unix_ms,
    }
}

fn goes_on(can: &Abilities) -> BTreeMap<String, String> {
    [
        ("token_ids", &can.token_ids),
        ("chat", &can.chat_prefill),
        ("messages", &can.messages_prefill),
    ]
    .map(|(name, ability)| (name.to_owned(), ability.get().label().to_owned()))
    .into()
}

/// What it last said of its own load, while that is news.
pub(crate) fn told(replica: &Replica, now: Instant) -> Option<Told> {
    let fresh = |told: &Told| now.saturating_duration_since(told.at) < NEWS;
    replica.live.room.told().filter(fresh)
}

/// An instance that the gateway has no replica for: it has no place yet, or no more.
fn unplaced(instance: &InstanceStatus, at: Moment) -> ReplicaView {
    let (health, why) = match &instance.phase {
        Phase::Stopped => (Health::Stopped, "its process is stopped".into()),
        // It was a replica: only one that answers is found ready.
        Phase::Ready => (Health::Draining, "no longer configured; ends what it has begun".into()),
        Phase::Stopping => (Health::Draining, "its process is stopping".into()),
        other => (Health::Starting, format!("its process is {}", other.label())),
    };
    ReplicaView {
        name: instance.name.clone(),
        health: health.label().into(),
        gate: gate(Gate::Shut).into(),
        role: Duty::Active.label().into(),
        duty: Duty::Active.label().into(),
        why,
        since_unix_ms: instance.started_ms.unwrap_or(at.unix_ms),
        incarnation: instance.incarnation,
        weight: 1.0,
        ramp: 1.0,
        outcomes: by_outcome(|_| 0),
        process: Some(process(instance, at.unix_ms)),
        ..ReplicaView::default()
    }
}

fn process(instance: &InstanceStatus, now_ms: u64) -> ProcessView {
    let (message, until_unix_ms) = match &instance.phase {
        Phase::Starting { deadline_ms, .. } => (None, Some(*deadline_ms)),
        Phase::Backoff { until_ms } | Phase::CrashLoop { until_ms } => (None, Some(*until_ms)),
        Phase::Failed { message, until_ms } => (Some(message.clone()), Some(*until_ms)),
        Phase::Ready | Phase::Stopping | Phase::Stopped => (None, None),
    };
    ProcessView {
        node: instance.node.clone(),
        phase: instance.phase.label().into(),
        message,
        until_unix_ms,
        pid: instance.pid,
        port: instance.port,
        restarts: instance.restarts,
        crash_loop: instance.crash_loop,
        uptime_seconds: instance.uptime(now_ms).map(|up| up.as_secs_f64()),
        progress: instance.progress.clone(),
        last_exit: instance.last_exit.clone(),
        last_lines: instance.last_lines.clone(),
    }
}

fn by_outcome(count: impl Fn(Outcome) -> u64) -> BTreeMap<String, u64> {
    outcome::ALL.into_iter().map(|outcome| (outcome.label().to_owned(), count(outcome))).collect()
}

fn latency(times: &histogram::Snapshot) -> Latency {
    let at = |q| times.quantile(q).map(millis);
    Latency { count: times.count(), p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99) }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Openai => "openai",
        Protocol::Kserve => "kserve",
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
    }
}

const fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Open => "open",
        Gate::Reserve => "reserve",
        Gate::LastResort => "last_resort",
        Gate::Desperate => "desperate",
        Gate::Shut => "shut",
    }
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn ten_comes_after_nine() {
        let mut names = ["b-1", "a-10", "a-9", "a", "a-010"];
        names.sort_by(|x, y| in_order(x).cmp(&in_order(y)));
        assert_eq!(names, ["a", "a-9", "a-10", "a-010", "b-1"]);
    }
}
