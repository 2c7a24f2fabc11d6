//! The snapshot as JSON: one moment of everything an operator asks about.
//!
//! Times are milliseconds since the Unix epoch, as this host's clock has them; compare
//! them with [`Snapshot::at_unix_ms`], not with another clock. Rates and latencies are
//! over the last [`Snapshot::window_seconds`]; counters are since the process started.

mod keys;
mod node;

pub use keys::{KeyView, LimitsView, TenantView, UsageView};
mod alert;
mod check;
mod job;
mod recovery;
mod scale;
mod slo;
mod standby;

pub use recovery::{
    HealBody, IncidentDetail, IncidentView, PauseBody, PauseView, PlanStepView, PlanView,
    RecoveryView, RowView, SignView, StormView, WhyView,
};

pub use alert::{
    AlertView, AlertsView, ChannelView, PastView, SilenceBody, SilenceView, SourceView, TriedView,
    TryBody,
};
pub use check::{CheckValueView, CheckView};
pub use job::{JobFailureView, JobView};
pub use node::NodeView;
pub use scale::{ScaleBody, ScaleView};
pub use slo::{
    BudgetLine, BudgetView, ExhaustedView, LatencySlo, RequestSlo, RuleView, ServiceSlo, SloView,
    SpreadView, TimeSlo, TotalSlo,
};
pub use standby::{DutyView, StandbyView};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Version of the program.
    pub version: String,
    /// When this was taken.
    pub at_unix_ms: u64,
    /// The newest event's cursor: `GET /api/v1/events?after=` this misses none.
    pub cursor: u64,
    /// The time that rates and latencies span.
    pub window_seconds: f64,
    /// Whether it takes traffic: not draining, and each core service has an open replica.
    pub ready: bool,
    /// The gateway as a whole.
    pub gateway: GatewayView,
    /// Services, in the order of the configuration.
    pub services: Vec<ServiceView>,
    /// Operators' orders that hold.
    pub overrides: Vec<OverrideView>,
    /// Files and batches; absent where they are off.
    #[serde(default)]
    pub batch: Option<BatchView>,
    /// Keys that clients show; empty where none is asked for.
    #[serde(default)]
    pub keys: Vec<KeyView>,
    /// The tenants they belong to.
    #[serde(default)]
    pub tenants: Vec<TenantView>,
    /// Commands that must reach their end, by name.
    #[serde(default)]
    pub jobs: Vec<JobView>,
    /// Other hosts that run replicas and jobs.
    #[serde(default)]
    pub nodes: Vec<NodeView>,
    /// Checks of hosts, devices, neighbours and databases, by name.
    #[serde(default)]
    pub checks: Vec<CheckView>,
    /// What people are told of; absent where nobody is in this process.
    #[serde(default)]
    pub alerts: Option<AlertsView>,
    /// Incidents; absent where nothing is done about them in this process.
    #[serde(default)]
    pub recovery: Option<RecoveryView>,
}

/// Files and batches, as looked at within the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchView {
    /// Whether this process executes them: it holds the lease.
    pub executes_here: bool,
    /// Batches that are remembered, by status.
    pub batches: BTreeMap<String, u64>,
    /// Lines being answered.
    pub lines_under_way: u64,
    /// Lines answered with success since the process began.
    pub lines_answered: u64,
    /// Lines answered with an error since then.
    pub lines_failed: u64,
    /// Lines put off since then for want of room.
    pub calls_refused: u64,
    /// Lines to be tried again since then after a server's fault.
    pub calls_faulted: u64,
    /// Files.
    pub files: u64,
    /// Bytes of files and answers.
    pub store_bytes: u64,
    /// … and how many are taken in.
    pub store_limit_bytes: u64,
}

/// The gateway as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayView {
    /// Its process.
    pub pid: u32,
    /// When that was started.
    pub started_unix_ms: u64,
    /// Whether it finishes what it has and takes nothing new.
    pub draining: bool,
    /// Client connections open.
    pub connections: u64,
    /// Bytes of request bodies and answers held.
    pub memory_used_bytes: u64,
    /// … and how many may be.
    pub memory_limit_bytes: u64,
    /// Requests refused before they reached a service.
    pub rejected: u64,
    /// Signals the health authority did not get because its channel was full.
    pub signals_dropped: u64,
    /// Lines of the access log that could not be written.
    pub access_lines_lost: u64,
    /// Spans that could not be delivered.
    pub spans_lost: u64,
    /// Counts the configurations in force, from 1.
    pub config_generation: u64,
    /// Why the last reload was refused; absent when it was not.
    pub reload_error: Option<String>,
}

/// An operator's order about a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverrideView {
    /// The replica.
    pub replica: String,
    /// `drain` or `isolate`.
    pub order: String,
    /// Who ordered it.
    pub owner: String,
    /// When it ends by itself; absent for never.
    pub until_unix_ms: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `core` or `best_effort`.
    pub tier: String,
    /// `openai`, `kserve`, `grpc` or `http`.
    pub protocol: String,
    /// Its balance policy.
    pub balance: String,
    /// The models it serves.
    pub models: Vec<String>,
    /// Whether at least one replica is open.
    pub ready: bool,
    /// The service that answers in its place; absent while it answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_over_to: Option<String>,
    /// Replicas that take traffic.
    pub open: u64,
    /// Replicas meant to: all but drained and stopped ones.
    pub expected: u64,
    /// Requests under way.
    pub active: u32,
    /// Requests that wait for a replica, or for a place on one.
    pub held: u32,
    /// Retries under way.
    pub retrying: u32,
    /// Requests by how they ended for the client.
    pub requests: BTreeMap<String, u64>,
    /// Attempts beyond each request's first, after soft evidence.
    pub retries: u64,
    /// Attempts beyond each request's first, after hard evidence.
    pub resends: u64,
    /// Second attempts raced because the first one's replica became suspect.
    pub raced: u64,
    /// Second attempts made because the first token was late.
    pub hedges: u64,
    /// Streams that went on elsewhere, by how: `token_replay`, `prefill`, `regenerate`.
    pub resumed: BTreeMap<String, u64>,
    /// Second attempts beside streams that had not broken, but were silent or in doubt.
    pub rescues: u64,
    /// Streams that broke and could not be carried on.
    pub broken_streams: u64,
    /// Requests that waited for want of a replica.
    /// Requests that waited for a replica, or for a place on one.
    pub holds: u64,
    /// Requests refused before any replica saw them.
    pub refused: u64,
    /// The same by tier and reason: `no_replica`, `queue_full`, `overloaded`, `waited`,
    /// `limited`.
    pub refusals: BTreeMap<String, BTreeMap<String, u64>>,
    /// Tiers whose requests are refused rather than made to wait.
    pub overloaded: Vec<String>,
    /// How long requests waited for a place that then got one.
    pub queue_wait: Latency,
    /// Requests sent once, without a copy to replay.
    pub unreplayable: u64,
    /// Picks made with nothing open: the least bad was taken.
    pub panics: u64,
    /// Requests whose hash is quarantined.
    pub quarantined: u64,
    /// What was done about answers beside retrying (quorum, cache, fallback), as far as it
    /// happened.
    #[serde(default)]
    pub answers: BTreeMap<String, u64>,
    /// Server-sent events (tokens) relayed.
    pub events: u64,
    /// Requests that ended, a second.
    pub requests_per_second: f64,
    /// … of which not by the client's doing and not well.
    pub errors_per_second: f64,
    /// Server-sent events relayed, a second.
    pub events_per_second: f64,
    /// Time to the answer's head, as clients see it.
    pub first_byte: Latency,
    /// Time to the answer's end, as clients see it.
    pub total: Latency,
    /// How many copies run, and why; absent where that does not follow what is measured.
    #[serde(default)]
    pub scale: Option<ScaleView>,
    /// How its standbys are used; absent for a service without.
    pub standby: Option<StandbyView>,
    /// Its error budget; absent where no account is kept.
    #[serde(default)]
    pub budget: Option<BudgetLine>,
    /// Its replicas, by name.
    pub replicas: Vec<ReplicaView>,
}

/// A distribution of times. A quantile is at most a quarter too high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// How many were measured in the window; quantiles are absent when none.
    pub count: u64,
    /// Half were faster, in milliseconds.
    pub p50_ms: Option<f64>,
    /// Nine in ten were faster.
    pub p90_ms: Option<f64>,
    /// 99 in a hundred were faster.
    pub p99_ms: Option<f64>,
}

/// One replica.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// Its name.
    pub name: String,
    /// Where it listens; empty while a supervised one has no place yet.
    pub url: String,
    /// Which model version it runs; empty when not told.
    pub revision: String,
    /// `starting`, `healthy`, `suspect`, `isolated`, `probation`, `draining` or `stopped`.
    pub health: String,
    /// What that means for a pick: `open`, `reserve` (a hot standby), `last_resort`,
    /// `desperate` or `shut`.
    pub gate: String,
    /// `active` or `standby`: what it is there for.
    pub role: String,
    /// How far a standby is prepared: `hot`, `warm` or `cold`; absent for an active one.
    pub level: Option<String>,
    /// What it does now: `active`, `standby`, `promoting`, `promoted` or `demoting`.
    pub duty: String,
    /// The evidence.
    pub why: String,
    /// Since when it is in this state.
    pub since_unix_ms: u64,
    /// Which start of it.
    pub incarnation: u64,
    /// Attempts under way.
    pub in_flight: u32,
    /// … and how many may be; 0 for no bound.
    pub max_in_flight: u32,
    /// How many it is given at most, as far as that was found out; 0 for no bound.
    pub limit: u32,
    /// Whether that is what it can start; else only how far the search has come.
    pub limit_found: bool,
    /// Requests in its own queue, where it tells of one.
    pub waiting: Option<u32>,
    /// Its configured share relative to its peers.
    pub weight: f32,
    /// How much of that it gets by now, up to 1: less during slow start.
    pub ramp: f32,
    /// Whether it asked to be left alone for a while (429, 503).
    pub busy: bool,
    /// How it can go on with an answer that another one began, as far as is known:
    /// `token_ids`, `chat`, `messages`, each `unknown`, `asking`, `no`, `yes` or `echoes`.
    pub goes_on: BTreeMap<String, String>,
    /// Faults since the last good answer.
    pub consecutive_faults: u32,
    /// Attempts by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Attempts that ended, a second.
    pub attempts_per_second: f64,
    /// Moving mean of the time to first byte; absent before the first answer.
    pub latency_ms: Option<f64>,
    /// Time from sending a request to the answer's head.
    pub first_byte: Latency,
    /// Where connections to it go instead of straight to it: a drill's proxy.
    pub via: Option<ViaView>,
    /// The process, where Evenkeel runs it.
    pub process: Option<ProcessView>,
}

/// Another way to a replica.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ViaView {
    /// The address.
    pub to: String,
    /// Who asked for it.
    pub owner: String,
    /// What for.
    pub why: String,
    /// Since when.
    pub since_unix_ms: u64,
}

/// Another address for a replica's connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetourBody {
    /// Loopback address and port of who listens there.
    pub to: String,
    /// Who asks for it.
    #[serde(default)]
    pub owner: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// A wall clock that is to be wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockBody {
    /// How far ahead of the system's, in milliseconds; negative for behind.
    pub ahead_ms: i64,
    /// Who asks for it.
    #[serde(default)]
    pub owner: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// A supervised process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// The node it runs on; absent: that of the keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `starting`, `ready`, `backoff`, `crash_loop`, `stopping`, `stopped` or `failed`.
    pub phase: String,
    /// What a person must mend, when `failed`.
    pub message: Option<String>,
    /// When it is started again, or given up when `starting`.
    pub until_unix_ms: Option<u64>,
    /// While it runs.
    pub pid: Option<u32>,
    /// The port it was given.
    pub port: Option<u16>,
    /// Starts after the first.
    pub restarts: u64,
    /// Whether it ends again and again.
    pub crash_loop: bool,
    /// How long it has been running.
    pub uptime_seconds: Option<f64>,
    /// What it printed last while starting.
    pub progress: Option<String>,
    /// How and when it last ended.
    pub last_exit: Option<String>,
    /// The last lines of output before that.
    pub last_lines: Vec<String>,
}

/// Body of an order about a replica; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrderBody {
    /// Who orders, for the record; up to 64 printable characters.
    pub owner: String,
    /// After what time the order ends by itself, like `"30m"`; absent for never.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// Body of an order to do less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DegradeBody {
    /// From 0 (do everything) to 6; absent to leave it to what is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// Who orders, for the record; up to 64 printable characters.
    pub owner: String,
    /// After what time the order ends by itself, like `"30m"`; absent for never.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// Body of an upgrade; may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeBody {
    /// The program to go on with; absent for what lies where the running one came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Always true: the order was taken. The snapshot tells when it has come true.
    pub accepted: bool,
}

/// Whether traffic is taken, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether it is.
    pub ready: bool,
    /// Whether the gateway drains.
    pub draining: bool,
    /// Core services without an open replica.
    pub not_ready: Vec<String>,
}

/// Why a request to this API failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorView,
}

/// What is wrong and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub remedy: String,
    /// One word for programs, such as `not_found`.
    pub code: String,
}
