//! From the account to what is told of it: views, budgets, what has changed.

use super::super::recovery::Recovery;
use evenkeel_admin::view::{
    BudgetView, ExhaustedView, LatencySlo, RequestSlo, RuleView, ServiceSlo, SloView, SpreadView,
    TimeSlo, TotalSlo,
};
use evenkeel_domain::incident::Incident;
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::slo::{Axis, BudgetState, Clocks, Firing, Sli, Slo};
use evenkeel_domain::{Pool, clock};
use evenkeel_slo::account::Accountant;
use evenkeel_slo::budget::{self, Watch};
use evenkeel_slo::ledger::Window;
use evenkeel_slo::spread::{self, Failure};
use evenkeel_slo::{availability, burn, wilson};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Incidents that are looked through: more than a year of a hundred replicas has of those
/// that people can do without.
const INCIDENTS: u32 = 1000;
/// How long what the journal says is believed while nothing seems to have changed.
const BELIEVED: Duration = Duration::from_secs(30);

/// Times of one service's incidents.
#[derive(Default)]
struct Times {
    detect: Vec<(u64, Duration)>,
    repair: Vec<(u64, Duration)>,
}

/// What is remembered from one telling to the next.
#[derive(Default)]
pub(super) struct Teller {
    watches: BTreeMap<String, Watch>,
    failures: BTreeMap<String, Vec<Failure>>,
    times: BTreeMap<String, Times>,
    /// When the journal was read last, and what the board said then.
    read: Option<(Instant, (u64, Vec<String>))>,
}

impl Teller {
    /// Reads the journal's incidents anew where they have changed.
    pub(super) async fn incidents(&mut self, recovery: &Recovery) {
        let view = recovery.board.view();
        let open = view.open.iter().map(|(i, _)| format!("{} {}", i.id, i.phase.label())).collect();
        let says = (recovery.board.confirmed.load(Relaxed), open);
        let now = clock::now();
        let fresh = self.read.as_ref().is_some_and(|(at, said)| {
            *said == says && now.saturating_duration_since(*at) < BELIEVED
        });
        if fresh {
            return;
        }
        let Some(all) = recovery.newest(INCIDENTS).await else { return };
        (self.failures, self.times) = (BTreeMap::new(), BTreeMap::new());
        for incident in all {
            self.one_incident(&incident);
        }
        self.read = Some((now, says));
    }

    fn one_incident(&mut self, incident: &Incident) {
        let t = &incident.times;
        let over_ms = t.mitigated.or(t.resolved);
        let failure = Failure { onset_ms: t.onset, over_ms };
        self.failures.entry(incident.service.clone()).or_default().push(failure);
        let times = self.times.entry(incident.service.clone()).or_default();
        // A clock that was stepped back in between says nothing.
        let since = |end: Option<u64>| Some(Duration::from_millis(end?.checked_sub(t.onset)?));
        times.detect.extend(since(t.detected).map(|took| (t.onset, took)));
        times.repair.extend(since(over_ms).map(|took| (t.onset, took)));
    }

    /// What is told of all services.
    pub(super) fn all(
        &mut self,
        account: &Accountant,
        services: &[(Arc<ServiceSettings>, Arc<Pool>)],
        now: &Clocks,
    ) -> (SloView, Vec<BudgetState>) {
        let named = |name: &String| services.iter().any(|(s, _)| s.name == *name);
        self.watches.retain(|name, _| named(name));
        let mut view = SloView::default();
        let mut states = Vec::new();
        for (settings, _) in services {
            let (service, state) = self.one(account, settings, now);
            view.services.push(service);
            states.push(state);
        }
        (view, states)
    }

    fn one(
        &mut self,
        account: &Accountant,
        settings: &ServiceSettings,
        now: &Clocks,
    ) -> (ServiceSlo, BudgetState) {
        let (name, slo) = (&settings.name, &settings.slo);
        let at: Axis = account.sampled_at().unwrap_or_else(|| account.at(now));
        let window = |span| account.window(name, at, span);
        let watch = self.watches.entry(name.clone()).or_default();
        let state = watch.look(name, slo, now.wall_ms, window);
        let whole = window(slo.window);
        let since = account.ledger(name).map_or(at, evenkeel_slo::ledger::Ledger::since_ms);
        let exhausted = state.exhausted.as_ref().map(|out| ExhaustedView {
            at_unix_ms: out.at_unix_ms,
            sli: out.sli.label().into(),
            text: out.text.clone(),
        });
        let view = ServiceSlo {
            service: name.clone(),
            objective: slo.objective(),
            window_seconds: slo.window.as_secs_f64(),
            latency: latency(slo, &whole),
            since_unix_ms: account.unix_ms(since, now),
            time: time(&whole),
            requests: requests(&whole),
            budgets: budgets(slo, &whole),
            left: state.left,
            burn: state.burn,
            rules: rules(slo, &state.firing, window),
            exhausted,
            detect: self.spread(name, slo, now, |times| &times.detect),
            repair: self.spread(name, slo, now, |times| &times.repair),
            between: self.between(name, slo, now),
            total: total(&account.written(name)),
        };
        (view, state)
    }

    fn spread(
        &self,
        service: &str,
        slo: &Slo,
        now: &Clocks,
        of: impl Fn(&Times) -> &Vec<(u64, Duration)>,
    ) -> Option<SpreadView> {
        let from = begin(slo, now);
        let times = of(self.times.get(service)?).iter().filter(|(onset, _)| *onset >= from);
        shown(times.map(|(_, took)| *took).collect())
    }

    fn between(&self, service: &str, slo: &Slo, now: &Clocks) -> Option<SpreadView> {
        let from = begin(slo, now);
        let all = self.failures.get(service)?.iter().filter(|failure| failure.onset_ms >= from);
        shown(spread::between(all.copied().collect()))
    }
}

/// When the window began, as the journal has it.
fn begin(slo: &Slo, now: &Clocks) -> u64 {
    let ms = u64::try_from(slo.window.as_millis()).unwrap_or(u64::MAX);
    now.wall_ms.saturating_sub(ms)
}

fn shown(times: Vec<Duration>) -> Option<SpreadView> {
    let spread = spread::of(times)?;
    Some(SpreadView {
        count: spread.count as u64,
        p50_seconds: spread.p50.as_secs_f64(),
        p90_seconds: spread.p90.as_secs_f64(),
        max_seconds: spread.max.as_secs_f64(),
    })
}

const fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn time(window: &Window) -> TimeSlo {
    let t = &window.tally;
    let [up, down, planned] = [t.up_ms, t.down_ms, t.planned_ms].map(Duration::from_millis);
    TimeSlo {
        up_seconds: up.as_secs_f64(),
        down_seconds: down.as_secs_f64(),
        planned_seconds: planned.as_secs_f64(),
        unknown_seconds: seconds(window.unknown_ms()),
        availability: availability::by_time(up, down),
        availability_with_planned: availability::by_time(up, down + planned),
    }
}

fn requests(window: &Window) -> RequestSlo {
    let t = &window.tally;
    let valid = t.valid();
    let interval = wilson::interval(t.bad, valid, wilson::Z95);
    RequestSlo {
        valid,
        good: t.good,
        bad: t.bad,
        availability: availability::by_requests(t.good, valid),
        failure: (valid > 0).then(|| t.bad as f64 / valid as f64),
        failure_low: interval.map(|(low, _)| low),
        failure_high: interval.map(|(_, high)| high),
    }
}

fn latency(slo: &Slo, window: &Window) -> Option<LatencySlo> {
    let t = &window.tally;
    Some(LatencySlo {
        seconds: slo.latency?.as_secs_f64(),
        objective: slo.latency_objective()?,
        kept: availability::by_requests(t.in_time, t.good),
    })
}

fn budgets(slo: &Slo, window: &Window) -> Vec<BudgetView> {
    let one = |sli: &Sli| {
        let objective = burn::objective(slo, *sli)?;
        let (bad, all) = burn::events(*sli, &window.tally, slo.window);
        let unit = if *sli == Sli::Time { 1e3 } else { 1.0 };
        Some(BudgetView {
            sli: sli.label().into(),
            allowed: (1.0 - objective) * all / unit,
            used: bad / unit,
            left: budget::left(slo, *sli, window),
        })
    };
    Sli::ALL.iter().filter_map(one).collect()
}

fn rules(slo: &Slo, firing: &[Firing], window: impl Fn(Duration) -> Window) -> Vec<RuleView> {
    let verdicts = burn::judge(slo, |span| window(span).tally).into_iter();
    let view = |v: burn::Verdict| {
        let fires = firing.iter().find(|f| f.rule == v.rule.name && f.sli == v.sli);
        RuleView {
            rule: v.rule.name.into(),
            severity: v.rule.severity.label().into(),
            sli: v.sli.label().into(),
            factor: v.rule.factor,
            long_seconds: v.rule.long.as_secs_f64(),
            short_seconds: v.rule.short.as_secs_f64(),
            long: v.long,
            short: v.short,
            since_unix_ms: fires.map(|f| f.since_unix_ms),
        }
    };
    verdicts.map(view).collect()
}

fn total(window: &Window) -> TotalSlo {
    let t = &window.tally;
    TotalSlo {
        good: t.good,
        bad: t.bad,
        in_time: t.in_time,
        up_seconds: seconds(t.up_ms),
        down_seconds: seconds(t.down_ms),
        planned_seconds: seconds(t.planned_ms),
        unknown_seconds: seconds(window.unknown_ms()),
    }
}

/// Rules that have begun (`true`) or ceased to speak: service, rule, which, what is left.
pub(super) fn changes<'a>(
    before: &'a [BudgetState],
    now: &'a [BudgetState],
) -> Vec<(&'a str, &'a Firing, bool, Option<f64>)> {
    let speaks = |all: &[BudgetState], service: &str, firing: &Firing| {
        let of = all.iter().find(|state| state.service == service);
        of.is_some_and(|s| s.firing.iter().any(|f| (f.rule, f.sli) == (firing.rule, firing.sli)))
    };
    let mut changed = Vec::new();
    for (states, others, fires) in [(now, before, true), (before, now, false)] {
        for state in states {
            let news = state.firing.iter().filter(|f| !speaks(others, &state.service, f));
            changed.extend(news.map(|f| (state.service.as_str(), f, fires, state.left)));
        }
    }
    changed
}
