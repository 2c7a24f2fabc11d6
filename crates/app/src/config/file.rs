//! The shape of `evenkeel.toml`.

use super::alert::AlertsConfig;
use super::keys::KeyConfig;
use super::recovery::PlaybookConfig;
use super::service::ServiceConfig;
use evenkeel_batch::BatchSettings;
use evenkeel_domain::check::CheckSettings;
use evenkeel_domain::incident::Rules;
use evenkeel_domain::job::JobSettings;
use evenkeel_domain::node::NodeSettings;
use evenkeel_domain::settings::TenantSettings;
use evenkeel_gateway::settings::{Cors, Limits};
use evenkeel_notify::ChannelSettings;
use evenkeel_notify::source::AlertRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Evenkeel's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where clients connect.
    pub(crate) gateway: GatewayConfig,
    /// Where operators and monitoring connect.
    pub(crate) admin: AdminConfig,
    /// Logs.
    pub(crate) log: LogConfig,
    /// Spans of requests.
    pub(crate) trace: TraceConfig,
    /// OpenAI's Files and Batches API for clients; off without this table.
    pub(crate) batch: Option<BatchSettings>,
    /// Directory for logs of replicas, operators' orders, files and batches; by default the user's state
    /// directory.
    pub(crate) state_dir: Option<PathBuf>,
    /// Keys that clients show. With any, here or in `gateway.keys`, nobody is served without.
    pub(crate) key: Vec<KeyConfig>,
    /// Keys that share limits, files and batches.
    pub(crate) tenant: Vec<TenantSettings>,
    /// What clients call.
    pub(crate) service: Vec<ServiceConfig>,
    /// Other hosts that run replicas and jobs.
    pub(crate) node: Vec<NodeSettings>,
    /// Commands that must reach their end.
    pub(crate) job: Vec<JobSettings>,
    /// What is looked at beside replicas: hosts, devices, neighbours, databases.
    pub(crate) check: Vec<CheckSettings>,
    /// Ways to people, or to what calls them.
    pub(crate) channel: Vec<ChannelSettings>,
    /// Who is told of what, how often, and when not.
    pub(crate) alerts: AlertsConfig,
    /// Thresholds of one's own on what checks measure.
    pub(crate) alert: Vec<AlertRule>,
    /// How much is done about replicas that do not serve.
    pub(crate) recovery: Rules,
    /// What is done about them, for services where the usual is not right.
    pub(crate) playbook: Vec<PlaybookConfig>,
}

/// One listening address or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Listen {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Listen {
    pub(crate) fn all(&self) -> Vec<&str> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many.iter().map(String::as_str).collect(),
        }
    }
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewayConfig {
    /// Address and port, or a list of them.
    pub(crate) listen: Listen,
    /// Threads that serve; by default one per core.
    pub(crate) workers: Option<usize>,
    /// Speak TLS on all addresses.
    pub(crate) tls: Option<TlsConfig>,
    /// Bounds on what clients may cost.
    pub(crate) limits: Limits,
    /// Cross-origin access for pages in browsers.
    pub(crate) cors: Cors,
    /// File with further `[[key]]` tables, relative to this one; watched. `evenkeel key`
    /// writes it.
    pub(crate) keys: Option<PathBuf>,
    /// How long running answers may take to end when Evenkeel stops or is upgraded, and when
    /// a replica is restarted or has left the configuration.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) drain: Duration,
}

impl Config {
    /// Whether nobody is served who shows no key.
    pub(crate) fn asks_for_keys(&self) -> bool {
        self.gateway.keys.is_some() || !self.key.is_empty()
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: Listen::One("127.0.0.1:8080".into()),
            workers: None,
            tls: None,
            limits: Limits::default(),
            cors: Cors::default(),
            keys: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// A server's certificate and key, PEM files; read again when they change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConfig {
    /// Certificate chain.
    pub(crate) cert: PathBuf,
    /// Private key.
    pub(crate) key: PathBuf,
    /// Clients must show a certificate of this authority.
    #[serde(default)]
    pub(crate) client_ca: Option<PathBuf>,
}

/// Where operators and monitoring connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminConfig {
    /// Address and port; anything but loopback needs `token_file` and `tls`.
    pub(crate) listen: String,
    /// File with the token that callers must show.
    pub(crate) token_file: Option<PathBuf>,
    /// Speak TLS.
    pub(crate) tls: Option<TlsConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9900".into(), token_file: None, tls: None }
    }
}

/// Logs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
    /// Least severity, or a filter such as `info,evenkeel_gateway=debug`; by default `info`.
    pub(crate) level: Option<String>,
    /// One line per request: `off`, `stdout`, or a file's path.
    pub(crate) access: AccessLogConfig,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AccessLogConfig(pub(crate) String);

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self("off".into())
    }
}

/// Spans of requests, for an OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TraceConfig {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`. Without it
    /// nothing is recorded, and `traceparent` is passed on as it came.
    pub(crate) otlp: Option<String>,
    /// Share of the requests that are recorded, 0 to 1. Those whose client records them
    /// (a `traceparent` with the sampled flag) always are.
    pub(crate) sample: f64,
    /// The name under which the collector shows them.
    pub(crate) service_name: String,
    /// Header fields of each export: the name, and a file whose first line is the value.
    pub(crate) headers: BTreeMap<String, PathBuf>,
    /// Authority to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            otlp: None,
            sample: 0.01,
            service_name: "evenkeel".into(),
            headers: BTreeMap::new(),
            ca: None,
        }
    }
}
