//! The shape of `[[service]]`.

use super::answers;
use evenkeel_domain::answers::{Answers, Cache, Degrade, Golden, Quorum};
use evenkeel_domain::settings::{
    BalanceOptions, Concurrency, Deadlines, Ejection, Hedge, Hold, Probe, Protocol, Queue, Quota,
    Resume, Retry, Scale, ServiceSettings, Tier,
};
use evenkeel_domain::slo::Slo;
use evenkeel_domain::standby::{self, Call, Level, Role};
use evenkeel_gateway::RouteRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What clients call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceConfig {
    /// Its name.
    pub(crate) name: String,
    /// What it speaks: `openai`, `kserve`, `grpc` or `http`.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// The request's `model`; `*` for any.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// Name clients use → name that replicas know.
    #[serde(default)]
    pub(crate) aliases: BTreeMap<String, String>,
    /// `core` or `best_effort`.
    #[serde(default)]
    pub(crate) tier: Tier,
    /// Balance policy.
    #[serde(default = "default_balance")]
    pub(crate) balance: String,
    /// Its parameters.
    #[serde(default)]
    pub(crate) balance_options: BalanceOptions,
    /// Deadlines.
    #[serde(default)]
    pub(crate) deadlines: Deadlines,
    /// Retries.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Waiting for a replica.
    #[serde(default)]
    pub(crate) hold: Hold,
    /// Second attempts beside slow ones.
    #[serde(default)]
    pub(crate) hedge: Hedge,
    /// How much each replica is given at once.
    #[serde(default)]
    pub(crate) concurrency: Concurrency,
    /// Waiting for a place.
    #[serde(default)]
    pub(crate) queue: Queue,
    /// Streams that outlive their replica.
    #[serde(default)]
    pub(crate) resume: Resume,
    /// Probes.
    #[serde(default)]
    pub(crate) probe: Probe,
    /// Ejection by statistics.
    #[serde(default)]
    pub(crate) ejection: Ejection,
    /// Several replicas must agree on an answer.
    pub(crate) quorum: Option<Quorum>,
    /// Deterministic answers are kept and given again.
    pub(crate) cache: Option<Cache>,
    /// Who answers when the service cannot, in this order.
    #[serde(default)]
    pub(crate) fallback: Vec<FallbackConfig>,
    /// The service for requests that are too long for this one's model.
    pub(crate) larger: Option<String>,
    /// How it does less when not everything can be done.
    pub(crate) degrade: Option<Degrade>,
    /// Questions whose answers are known, asked of each replica.
    #[serde(default)]
    pub(crate) golden: Vec<Golden>,
    /// How many copies of its command run, by what is measured.
    pub(crate) scale: Option<Scale>,
    /// When its standbys take over, and when they go back.
    pub(crate) standby: Option<standby::Rules>,
    /// How much may be asked of it, by all together.
    #[serde(default)]
    pub(crate) limits: Quota,
    /// What it promises: availability, and how soon answers begin.
    pub(crate) slo: Option<Slo>,
    /// Largest request body in bytes; beyond it 413.
    #[serde(default = "default_max_body")]
    pub(crate) max_body: u64,
    /// Largest request body kept to be sent again, in bytes.
    #[serde(default = "default_max_replay")]
    pub(crate) max_replay: u64,
    /// Paths, hosts and headers that lead here.
    #[serde(default)]
    pub(crate) route: Vec<RouteConfig>,
    /// Its replicas.
    #[serde(default)]
    pub(crate) replica: Vec<ReplicaConfig>,
}

fn default_balance() -> String {
    "least_requests".into()
}

/// Prompts with images reach tens of megabytes; a gigabyte is a mistake or an attack.
fn default_max_body() -> u64 {
    256 << 20
}

fn default_max_replay() -> u64 {
    32 << 20
}

/// Who answers in a service's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum FallbackConfig {
    /// `service:NAME` or `cache`.
    Named(String),
    /// A text.
    Fixed {
        /// The text.
        fixed: String,
    },
    /// A text from a file.
    File {
        /// The file.
        file: PathBuf,
    },
}

/// Requests that lead to a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteConfig {
    /// Path prefix, on segment borders.
    pub(crate) path: String,
    /// Host, without port.
    pub(crate) host: String,
    /// Header fields with exact values.
    pub(crate) headers: BTreeMap<String, String>,
    /// Tier of these requests, where it differs from the service's.
    pub(crate) tier: Option<Tier>,
}

/// A replica, or several of a kind. Exactly one of `url`, `dns`, `file` and `command`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReplicaConfig {
    /// Base URL of a server that runs elsewhere.
    pub(crate) url: Option<String>,
    /// Base URL whose host name stands for several servers: each of its addresses is a
    /// replica. Resolved again every few seconds.
    pub(crate) dns: Option<String>,
    /// File with one base URL a line; read again when it changes.
    pub(crate) file: Option<PathBuf>,
    /// Command that Evenkeel starts and supervises; `{port}` and `{index}` are replaced.
    pub(crate) command: Option<Vec<String>>,
    /// The node it runs on, for `command`; here by default.
    pub(crate) node: Option<String>,
    /// How many of them, for `command`.
    pub(crate) copies: Option<u32>,
    /// The command's port, where it cannot be told one.
    pub(crate) port: Option<u16>,
    /// Environment of the command.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory of the command.
    pub(crate) cwd: Option<PathBuf>,
    /// User to run the command as.
    pub(crate) user: Option<String>,
    /// How long it may take to become ready, or, where it runs elsewhere, to answer for the
    /// first time; 10 min by default.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub(crate) startup_deadline: Option<Duration>,
    /// How long it may take to end before it is killed.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub(crate) stop_grace: Option<Duration>,
    /// `active`, or `standby`: it takes over when active ones fail.
    pub(crate) role: Role,
    /// How far a standby is prepared: `hot` (loaded and ready, the default), `warm` (its server
    /// is up, its model not loaded) or `cold` (not started).
    pub(crate) standby: Option<Level>,
    /// The request that makes a warm standby load its model: `{ path, body }`.
    pub(crate) load: Option<Call>,
    /// The request that makes it free its model again.
    pub(crate) unload: Option<Call>,
    /// Which model version it runs.
    pub(crate) revision: String,
    /// Share relative to its peers; 1 by default.
    pub(crate) weight: Option<f32>,
    /// Attempts it may have at once.
    pub(crate) max_in_flight: u32,
    /// Speak HTTP/2 with prior knowledge.
    pub(crate) h2: bool,
    /// The model's name on this replica, where it differs.
    pub(crate) model: Option<String>,
    /// Authority to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show.
    pub(crate) client_cert: Option<PathBuf>,
    /// Key of `client_cert`.
    pub(crate) client_key: Option<PathBuf>,
    /// Name that its certificate must be valid for; by default the URL's host.
    pub(crate) server_name: Option<String>,
    /// File with a token, sent as `authorization: Bearer …`.
    pub(crate) bearer_file: Option<PathBuf>,
    /// Header fields added to each request.
    pub(crate) headers: BTreeMap<String, String>,
}

impl ServiceConfig {
    /// The settings that siblings are given.
    pub(crate) fn settings(&self) -> ServiceSettings {
        ServiceSettings {
            name: self.name.clone(),
            models: self.models.clone(),
            aliases: self.aliases.clone(),
            tier: self.tier,
            protocol: self.protocol,
            balance: self.balance.clone(),
            balance_options: self.balance_options.clone(),
            deadlines: self.deadlines.clone(),
            retry: self.retry.clone(),
            hold: self.hold.clone(),
            hedge: self.hedge.clone(),
            concurrency: self.concurrency.clone(),
            queue: self.queue.clone(),
            resume: self.resume.clone(),
            probe: self.probe.clone(),
            ejection: self.ejection.clone(),
            answers: self.answers(),
            limits: self.limits,
            slo: self.slo.clone().unwrap_or_default(),
            max_body: self.max_body,
            max_replay: self.max_replay,
        }
    }

    fn answers(&self) -> Answers {
        Answers {
            // What cannot be read was refused when the file was checked.
            fallback: self
                .fallback
                .iter()
                .filter_map(|step| answers::fallback(step).ok())
                .collect(),
            larger: self.larger.clone(),
            degrade: self.degrade.clone(),
            quorum: self.quorum.clone(),
            golden: self.golden.clone(),
            cache: self.cache.clone(),
            // Playbooks say so, which are not the service's.
            fails_over: false,
        }
    }

    /// The routes that the gateway is given.
    pub(crate) fn routes(&self) -> Vec<RouteRule> {
        let rule = |r: &RouteConfig| RouteRule {
            path: r.path.clone(),
            host: r.host.clone(),
            headers: r.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            tier: r.tier,
        };
        self.route.iter().map(rule).collect()
    }
}
