//! How the standbys of a service are used.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How the standbys of a service are used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandbyView {
    /// Replicas that shall take traffic.
    pub keep: u32,
    /// … and that do, promoted standbys included.
    pub serving: u32,
    /// Each standby, whether it was ever started or not.
    pub standbys: BTreeMap<String, DutyView>,
    /// Promotions of this gateway whose standby has answered.
    pub promotions: u64,
    /// What happened last, with its reason; empty before anything has.
    pub last: String,
    /// When that was.
    pub last_unix_ms: Option<u64>,
}

/// One standby.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DutyView {
    /// How far it is prepared: `hot`, `warm` or `cold`.
    pub level: String,
    /// What it does now: `standby`, `promoting`, `promoted` or `demoting`.
    pub duty: String,
    /// The replica in whose place it serves; empty for none.
    pub instead_of: String,
    /// How long it took from when too few took traffic to its first answer, this time.
    pub took_ms: Option<u64>,
}
