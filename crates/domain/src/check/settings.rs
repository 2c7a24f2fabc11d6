//! The shape of `[[check]]`.

use super::Amount;
use crate::slo::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One look at a host, a device, a neighbour or a database, again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSettings {
    /// Its name.
    pub name: String,
    /// What is looked at: `cpu`, `memory`, `disk`, `disk_latency`, `load`, `files`,
    /// `traffic`, `peer`, `process`, `certificate`, `gpu`, `postgresql`, `mysql`, `redis`, `tcp`, `http`,
    /// `grpc`, `inference` or `script`.
    pub kind: String,
    /// Time between two looks.
    #[serde(default = "interval", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// How long one look may take.
    #[serde(default = "timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// From what on a person should look: `"90%"`, `"5GiB"`, `"20ms"`, `4`, or one for each
    /// measure.
    #[serde(default)]
    pub warning: Option<Levels>,
    /// From what on it is wrong.
    #[serde(default)]
    pub critical: Option<Levels>,
    /// For how long before it counts, and for how long not before it is over.
    #[serde(default = "lasting", rename = "for", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lasting: Duration,
    /// How urgent it is when critical: `page` or `ticket`. By default a page where it speaks
    /// against replicas.
    #[serde(default)]
    pub alert: Option<Severity>,
    /// The service whose replicas it speaks against when critical.
    #[serde(default)]
    pub service: Option<String>,
    /// The replicas it speaks against when critical.
    #[serde(default)]
    pub replicas: Vec<String>,
    /// Critical alone isolates them: they cannot serve without what is looked at.
    #[serde(default)]
    pub definite: bool,
    /// What is done before a limit is reached.
    #[serde(default)]
    pub forecast: Forecast,
    /// A directory or file, for `disk`, `disk_latency` and `certificate`; below `url`, for `http` and
    /// `inference`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Network interface, for `traffic`; by default all but loopback.
    #[serde(default)]
    pub interface: Option<String>,
    /// `host:port` that accepts connections, or a host that answers echo requests, for `peer`.
    #[serde(default)]
    pub host: Option<String>,
    /// What to connect to, for databases, caches, `tcp`, `http`, `grpc` and `inference`.
    #[serde(default)]
    pub url: Option<String>,
    /// File with the password on its first line, for databases and caches.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// File with a token, sent as `authorization: Bearer …`, for `http` and `inference`.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
    /// Authority to trust instead of the usual ones, where `url` asks for TLS.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Text that the answer must contain, for `http` and `inference`.
    #[serde(default)]
    pub expect: Option<String>,
    /// Name in the gRPC health service, for `grpc`.
    #[serde(default)]
    pub grpc_service: Option<String>,
    /// The model that is asked, for `inference`.
    #[serde(default)]
    pub model: Option<String>,
    /// JSON body of the request, for `inference`.
    #[serde(default)]
    pub body: Option<String>,
    /// A process, for `process`; without one those of `service` or `replicas`.
    #[serde(default)]
    pub pid: Option<u32>,
    /// File with its number, for `process`.
    #[serde(default)]
    pub pidfile: Option<PathBuf>,
    /// Index or UUID of one GPU, for `gpu`; by default all of them.
    #[serde(default)]
    pub gpu: Option<String>,
    /// NVIDIA's management library, for `gpu`, where it is not the system's.
    #[serde(default)]
    pub library: Option<PathBuf>,
    /// Program and arguments, for `script`.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment beside Evenkeel's own, for `script`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory, for `script`.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
}

/// As often as Nagios and Prometheus usually look, or more often.
fn interval() -> Duration {
    Duration::from_secs(15)
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

/// Three looks in a row: one spike is none.
fn lasting() -> Duration {
    Duration::from_secs(30)
}

/// What is done before a limit is reached: its thresholds, as the values go at their pace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Forecast {
    /// How far ahead it counts; zero for never. Certificates have 30 days.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// Restart what leaks (`process` of supervised replicas, `memory`) at a quiet time, and
    /// drop old logs of Evenkeel's own from a disk that fills.
    pub act: bool,
    /// Program and arguments, run once the limit is within that time.
    pub command: Vec<String>,
    /// How long until it is run again while that is still so.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub again: Duration,
}

impl Default for Forecast {
    /// Six hours: a night, in which a quiet time is found.
    fn default() -> Self {
        Self {
            within: Duration::from_secs(6 * 3600),
            act: true,
            command: Vec::new(),
            again: Duration::from_secs(3600),
        }
    }
}

/// A threshold, or one for each measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Levels {
    /// Of the first measure that has such a unit.
    One(Amount),
    /// By measure.
    Each(BTreeMap<String, Amount>),
}

impl CheckSettings {
    /// The keys that are set and that belong to some kinds only.
    #[must_use]
    pub fn own_keys(&self) -> Vec<&'static str> {
        [
            ("path", self.path.is_some()),
            ("interface", self.interface.is_some()),
            ("host", self.host.is_some()),
            ("url", self.url.is_some()),
            ("password_file", self.password_file.is_some()),
            ("bearer_file", self.bearer_file.is_some()),
            ("ca", self.ca.is_some()),
            ("expect", self.expect.is_some()),
            ("grpc_service", self.grpc_service.is_some()),
            ("model", self.model.is_some()),
            ("body", self.body.is_some()),
            ("pid", self.pid.is_some()),
            ("pidfile", self.pidfile.is_some()),
            ("gpu", self.gpu.is_some()),
            ("library", self.library.is_some()),
            ("command", !self.command.is_empty()),
            ("env", !self.env.is_empty()),
            ("cwd", self.cwd.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, set)| set.then_some(key))
        .collect()
    }
}
