//! How the standbys of a service are used.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the standbys of a service are used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandbyView {
    /// Replicas that shall take traffic.
    pub keep: u32,
    /// … and that do, promoted standbys included.
    pub serving: u32,
    /// Promotions of this gateway whose standby has answered.
    pub promotions: u64,
    /// What happened last, with its reason; empty before anything has.
    pub last: String,
    /// When that was.
    pub last_unix_ms: Option<u64>,
}
