//! Keys and tenants: who may ask for how much, and how much was asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key that clients show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its name.
    pub id: String,
    /// The tenant that it belongs to.
    pub tenant: Option<String>,
    /// The highest tier that its requests may have: `core` or `best_effort`.
    pub tier: Option<String>,
    /// The services it may use; absent for all.
    pub services: Option<Vec<String>>,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// When it ends; absent for never.
    pub expires_unix_ms: Option<u64>,
    /// How much it may ask for.
    pub limits: LimitsView,
    /// How much it has asked for since the process started.
    pub usage: UsageView,
}

/// Several keys that share limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// How much its keys may ask for together.
    pub limits: LimitsView,
    /// How much they have asked for since the process started, their batches included.
    pub usage: UsageView,
}

/// Limits and what is left of them; absent where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests that can be made now.
    pub requests_remaining: Option<u64>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens that can be used now.
    pub tokens_remaining: Option<u64>,
    /// Streams at once.
    pub streams: Option<u32>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// Requests taken on.
    pub requests: u64,
    /// Requests refused for a limit.
    pub refused: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Streams under way.
    pub streams: u32,
}
