//! Settings of a service, as the configuration file spells them.
//!
//! Every default stands beside the reason for it. Durations are written `"10s"`, `"250ms"`.

mod admission;
mod quota;
mod scale;

pub use admission::{Concurrency, Queue};
pub use quota::{KeyHash, KeySettings, Quota, TenantSettings};
pub use scale::Scale;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How important a service is when not everything can be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Served last of all to be given up.
    #[default]
    Core,
    /// Given up first.
    BestEffort,
}

impl Tier {
    /// All of them, the most important first.
    pub const ALL: [Self; 2] = [Self::Core, Self::BestEffort];

    /// Its name in the configuration, in headers, metrics and views.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::BestEffort => "best_effort",
        }
    }
}

/// What a service speaks: decides which errors it gets and what may be repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// OpenAI's and Anthropic's HTTP APIs: routed by the request's model.
    #[default]
    Openai,
    /// KServe V2 (Open Inference Protocol) over HTTP.
    Kserve,
    /// Any gRPC service.
    Grpc,
    /// Any HTTP service.
    Http,
}

/// Deadlines of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// For a connection to a replica. Local networks answer in milliseconds; one second
    /// spans one lost SYN.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect: Duration,
    /// From the request sent to the head of the answer. Prefill of a long prompt takes
    /// minutes.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idle: Duration,
    /// For the whole request with all its attempts.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(900),
        }
    }
}

/// When and how often a request is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts for soft evidence (5xx, busy, garbage), the first included. Resends after
    /// hard evidence (refusal, reset) do not count.
    pub max_attempts: u32,
    /// Retries under way at most, in percent of the requests under way.
    pub budget_percent: u32,
    /// … but at least so many.
    pub budget_min: u32,
    /// First back-off; doubles, jittered.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
    /// Longest back-off.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            budget_percent: 10,
            budget_min: 3,
            backoff: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
        }
    }
}

/// Waiting for a replica when none can take a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// How long: a restart of a small server fits in.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub time: Duration,
    /// How many requests at once.
    pub requests: u32,
}

impl Default for Hold {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), requests: 10_000 }
    }
}

/// Parameters of balance policies; each policy reads its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceOptions {
    /// What `consistent_hash` hashes: `header:NAME`, `user` (the request's user field) or
    /// `prompt` (its beginning).
    pub key: String,
    /// How many bytes of the prompt count for `key = "prompt"`.
    pub prompt_bytes: usize,
    /// How far above the mean load `consistent_hash` lets one replica go (0.25: a quarter).
    pub bound: f64,
    /// Requests in flight on the chosen replica above which `round_robin_spill` takes the
    /// least loaded one.
    pub spill_above: u32,
}

impl Default for BalanceOptions {
    fn default() -> Self {
        Self { key: "prompt".into(), prompt_bytes: 256, bound: 0.25, spill_above: 16 }
    }
}

/// How replicas are asked how they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// `auto` (finds `/health`, `/v2/health/ready`, `/v1/models` or plain TCP by asking),
    /// `tcp`, `http`, `grpc` or `inference`.
    pub kind: String,
    /// Path for `http`.
    pub path: String,
    /// Time between two probes of a replica that real traffic does not prove healthy.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// How long an answer may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Time between two probes while a replica is suspect, isolated or starting.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub fast_interval: Duration,
    /// gRPC health service name, for `grpc`.
    pub grpc_service: String,
    /// Path of the request, for `inference`.
    pub inference_path: String,
    /// JSON body of the request, for `inference`.
    pub inference_body: String,
    /// Text that the answer must contain, for `inference` and `http`; empty for any.
    pub expect: String,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            kind: "auto".into(),
            path: "/health".into(),
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            fast_interval: Duration::from_millis(200),
            grpc_service: String::new(),
            inference_path: "/v1/completions".into(),
            inference_body: String::new(),
            expect: String::new(),
        }
    }
}

/// When statistics speak against a replica (after Envoy's and Finagle's outlier detection).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ejection {
    /// Faults in a row that make a replica suspect.
    pub suspect_after: u32,
    /// Faults in a row that isolate it.
    pub consecutive: u32,
    /// Share of good answers, in percent, below which it is isolated …
    pub success_percent: u32,
    /// … when at least so many attempts ended within the window.
    pub min_attempts: u32,
    /// The window.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// First isolation; grows with each one in a row.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub time: Duration,
    /// Longest isolation.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub time_max: Duration,
    /// At most this share of a service, in percent, is isolated by statistics.
    pub max_percent: u32,
    /// Time over which a replica's share grows from a tenth to the whole after it was
    /// started or isolated.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub slow_start: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            suspect_after: 2,
            consecutive: 5,
            success_percent: 80,
            min_attempts: 5,
            window: Duration::from_secs(30),
            time: Duration::from_secs(30),
            time_max: Duration::from_secs(300),
            max_percent: 50,
            slow_start: Duration::from_secs(60),
        }
    }
}

/// A second attempt beside one whose first token is late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hedge {
    /// Make them.
    pub enabled: bool,
    /// Extra requests at most, in percent: the trigger moves between the 90th and the 99th
    /// percentile to keep within it.
    pub max_percent: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { enabled: true, max_percent: 5 }
    }
}

/// How streams are carried on when their replica fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resume {
    /// Carry them on. Off, a broken stream ends with an error event.
    pub enabled: bool,
    /// Move streams off a replica that is being drained, so that its restart need not wait
    /// for the longest answer.
    pub move_on_drain: bool,
    /// Fetch unary answers of chat and text completions from the replica as streams, so
    /// that they can be cancelled, watched and resumed, too.
    pub upstream_stream: UpstreamStream,
}

/// When a unary answer is fetched as a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamStream {
    /// Where a replica is known to run abandoned unary requests to their end (llama.cpp).
    #[default]
    Auto,
    /// From every replica.
    Always,
    /// From none.
    Never,
}

impl Default for Resume {
    fn default() -> Self {
        Self { enabled: true, move_on_drain: true, upstream_stream: UpstreamStream::Auto }
    }
}

/// All settings of a service but its replicas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceSettings {
    /// Its name.
    pub name: String,
    /// The models it serves; `*` for any.
    pub models: Vec<String>,
    /// Name clients use → name replicas know.
    pub aliases: BTreeMap<String, String>,
    /// How important it is.
    pub tier: Tier,
    /// What it speaks.
    pub protocol: Protocol,
    /// Name of the balance policy.
    pub balance: String,
    /// Its parameters.
    pub balance_options: BalanceOptions,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Retries.
    pub retry: Retry,
    /// Waiting for a replica.
    pub hold: Hold,
    /// Second attempts beside slow ones.
    pub hedge: Hedge,
    /// How much each replica is given at once.
    pub concurrency: Concurrency,
    /// Waiting for a place.
    pub queue: Queue,
    /// Streams that outlive their replica.
    pub resume: Resume,
    /// Probes.
    pub probe: Probe,
    /// Outlier ejection.
    pub ejection: Ejection,
    /// Quorum, golden questions and the like.
    pub answers: crate::answers::Answers,
    /// How much may be asked of it, by all together.
    pub limits: Quota,
    /// What it promises.
    pub slo: crate::slo::Slo,
    /// Largest request body, in bytes; beyond it 413.
    pub max_body: u64,
    /// Largest request body that is kept to be sent again, in bytes.
    pub max_replay: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_threshold_can_be_met() {
        let e = Ejection::default();
        assert!(e.suspect_after < e.consecutive && e.success_percent < 100);
        assert!(e.time <= e.time_max);
    }
}
