//! How many copies of a service run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a service is scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScaleView {
    /// Copies that run, those that are being started included.
    pub copies: u32,
    /// Copies that always run.
    pub min: u32,
    /// Copies that run at most.
    pub max: u32,
    /// Why it is that many now.
    pub why: String,
    /// Who has ordered that many; absent where that is left to what is measured.
    #[serde(default)]
    pub ordered_by: Option<String>,
    /// When the order of a person ends; absent without one, or where it never does.
    pub ordered_until_unix_ms: Option<u64>,
    /// The last change, with its reason; empty before the first.
    pub last_why: String,
    /// When that was.
    pub last_unix_ms: Option<u64>,
    /// How often copies were added.
    pub ups: u64,
    /// How often copies were taken away.
    pub downs: u64,
}

/// Body of an order of how many copies run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleBody {
    /// How many; absent to leave it to what is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
    /// Who orders, for the record; up to 64 printable characters.
    pub owner: String,
    /// After what time the order ends by itself, like `"30m"`; absent for never.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}
