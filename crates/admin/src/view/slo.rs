//! What services promised and kept, as JSON. Shares are from 0 to 1, times are seconds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The account of availability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SloView {
    /// Why nothing is kept; absent while everything is well.
    pub error: Option<String>,
    /// How often the wall clock was stepped since the process began.
    pub clock_steps: u64,
    /// How much later than it was counted something is on disk, at most.
    pub written_every_seconds: f64,
    /// By service.
    pub services: Vec<ServiceSlo>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSlo {
    /// Its name.
    pub service: String,
    /// Share of time and requests that was promised.
    pub objective: f64,
    /// Over which time.
    pub window_seconds: f64,
    /// What was promised of latency.
    pub latency: Option<LatencySlo>,
    /// Since when it is known.
    pub since_unix_ms: u64,
    /// The time of the window.
    pub time: TimeSlo,
    /// The requests of the window.
    pub requests: RequestSlo,
    /// Error budgets, by what is measured.
    pub budgets: Vec<BudgetView>,
    /// Share of the budget that is left, of what is measured the least; below 0 when more was
    /// used. Absent while nothing is known.
    pub left: Option<f64>,
    /// How many times faster than allowed it is used, over the last hour.
    pub burn: f64,
    /// Burn-rate rules, by what is measured.
    pub rules: Vec<RuleView>,
    /// When the budget is used up at the present burn, while it burns faster than allowed.
    pub exhausted: Option<ExhaustedView>,
    /// From the first sign of an incident until it was known (MTTD).
    pub detect: Option<SpreadView>,
    /// From the first sign until the replica served again (MTTR).
    pub repair: Option<SpreadView>,
    /// From then to the next incident (MTBF).
    pub between: Option<SpreadView>,
    /// All that was ever counted, for metrics: it only grows.
    pub total: TotalSlo,
}

/// What was promised of latency.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencySlo {
    /// Answers begin within this time …
    pub seconds: f64,
    /// … for this share of the good requests.
    pub objective: f64,
    /// Share that did; absent where there were none.
    pub kept: Option<f64>,
}

/// What the time of a window was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimeSlo {
    /// A replica took traffic.
    pub up_seconds: f64,
    /// None did.
    pub down_seconds: f64,
    /// None did because a person wanted it so.
    pub planned_seconds: f64,
    /// Nobody looked: Evenkeel was not running, or had just begun.
    pub unknown_seconds: f64,
    /// up / (up + down).
    pub availability: Option<f64>,
    /// up / (up + down + planned).
    pub availability_with_planned: Option<f64>,
}

/// What came of the requests of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestSlo {
    /// Valid requests: good and bad.
    pub valid: u64,
    /// Answered well.
    pub good: u64,
    /// Not.
    pub bad: u64,
    /// good / valid.
    pub availability: Option<f64>,
    /// bad / valid: the probability that a request fails …
    pub failure: Option<f64>,
    /// … with its Wilson interval at 95 %: lower bound
    pub failure_low: Option<f64>,
    /// … and upper bound.
    pub failure_high: Option<f64>,
}

/// An error budget over the whole window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// `requests`, `time` or `latency`.
    pub sli: String,
    /// What may fail: requests, or seconds.
    pub allowed: f64,
    /// What did.
    pub used: f64,
    /// Share that is left; absent where too few requests came to tell.
    pub left: Option<f64>,
}

/// A burn-rate rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// Its name: factor and long window.
    pub rule: String,
    /// `page` or `ticket`.
    pub severity: String,
    /// `requests`, `time` or `latency`.
    pub sli: String,
    /// From which burn on it speaks.
    pub factor: f64,
    /// The long window.
    pub long_seconds: f64,
    /// The short one.
    pub short_seconds: f64,
    /// Burn over the long window.
    pub long: f64,
    /// Burn over the short one.
    pub short: f64,
    /// Since when it speaks; absent while it does not.
    pub since_unix_ms: Option<u64>,
}

/// When a budget is used up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExhaustedView {
    /// When.
    pub at_unix_ms: u64,
    /// `requests`, `time` or `latency`.
    pub sli: String,
    /// For people.
    pub text: String,
}

/// Times as they were.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpreadView {
    /// How many.
    pub count: u64,
    /// Half of them at most.
    pub p50_seconds: f64,
    /// Nine in ten at most.
    pub p90_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}

/// All that was ever counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TotalSlo {
    /// Valid requests answered well.
    pub good: u64,
    /// Valid requests that were not.
    pub bad: u64,
    /// Good ones within the latency objective.
    pub in_time: u64,
    /// Time up.
    pub up_seconds: f64,
    /// Time down.
    pub down_seconds: f64,
    /// Time down as planned.
    pub planned_seconds: f64,
    /// Time that nobody saw.
    pub unknown_seconds: f64,
}

/// What the snapshot says of an error budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BudgetLine {
    /// Share that is left; absent while nothing is known.
    pub left: Option<f64>,
    /// `page` or `ticket`: the most urgent of the burn-rate rules that speak.
    pub severity: Option<String>,
    /// What somebody has to know; empty for nothing.
    pub text: String,
}

impl BudgetLine {
    pub(crate) fn of(slo: &ServiceSlo) -> Self {
        let speaks = |rule: &&RuleView| rule.since_unix_ms.is_some();
        let mut firing = slo.rules.iter().filter(speaks).peekable();
        let severity = firing.peek().map(|rule| rule.severity.clone());
        let rule = firing.next().map(|r| {
            let RuleView { severity, rule, sli, long, .. } = r;
            format!("{severity}: error budget by {sli} burns {long:.1} times too fast ({rule})")
        });
        let out = slo.exhausted.as_ref().map(|out| out.text.clone());
        let text: Vec<String> = rule.into_iter().chain(out).collect();
        Self { left: slo.left, severity, text: text.join("; ") }
    }
}
