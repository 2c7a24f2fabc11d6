//! Nodes.

use evenkeel_domain::node::NodeStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Another host that runs replicas and jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Where its agent listens.
    pub address: String,
    /// `unknown`, `up`, `suspect`, `cut` or `silent`.
    pub state: String,
    /// How unlikely it is that its next beat is only late: -log10 of the probability.
    pub phi: f64,
    /// From a beat to its acknowledgement.
    pub rtt_ms: Option<f64>,
    /// Since it was last heard.
    pub heard_ms_ago: Option<u64>,
    /// Nodes that hear it while the keeper does not.
    pub seen_by: Vec<String>,
    /// Whether orders get through.
    pub connected: bool,
    /// Why not, or what of them was refused.
    pub why: Option<String>,
    /// When its certificate ends.
    pub expires_unix_ms: Option<u64>,
}

impl From<NodeStatus> for NodeView {
    fn from(node: NodeStatus) -> Self {
        Self {
            state: node.presence.label().into(),
            name: node.name,
            address: node.address,
            phi: node.phi,
            rtt_ms: node.rtt_us.map(|us| us as f64 / 1e3),
            heard_ms_ago: node.heard_ms_ago,
            seen_by: node.seen_by,
            connected: node.connected,
            why: node.why,
            expires_unix_ms: node.expires_unix_s.map(|s| s.saturating_mul(1000)),
        }
    }
}
