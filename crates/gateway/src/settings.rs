//! Settings of the gateway itself; those of services are in `domain::settings`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds on what clients may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections open at once; further ones wait in the listener's backlog.
    pub connections: usize,
    /// Bytes of one request's head.
    pub header_bytes: usize,
    /// Header fields of one request.
    pub headers: usize,
    /// How long a request's head may take to arrive, and a connection may be idle between
    /// two requests.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub header_time: Duration,
    /// How long a request's body may stand still.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub body_idle: Duration,
    /// HTTP/2 streams of one connection at once.
    pub streams: u32,
    /// Bytes of request bodies and answers held in memory, over all requests.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_bytes: 64 << 10,
            headers: 100,
            header_time: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            streams: 256,
            memory: 1 << 30,
        }
    }
}

/// Cross-origin access for pages in browsers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins that may call; `*` for any. Empty: no page of another origin may.
    pub origins: Vec<String>,
}

/// Settings of the gateway.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatewaySettings {
    /// Bounds.
    pub limits: Limits,
    /// Cross-origin access.
    pub cors: Cors,
    /// Whether each request is written to the access log.
    pub access_log: bool,
}
