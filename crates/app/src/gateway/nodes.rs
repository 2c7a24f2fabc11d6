//! Nodes as the gateway sees them: what their beats say against their replicas.

use evenkeel_domain::health::CheckFault;
use evenkeel_domain::node::{NodeStatus, Presence};

/// What is to be held against the replicas of a node.
pub(super) fn against(node: &NodeStatus) -> Option<CheckFault> {
    let name = &node.name;
    let ago = node.heard_ms_ago.map_or_else(String::new, |ms| {
        format!(", last heard {}.{} s ago", ms / 1000, ms % 1000 / 100)
    });
    let (text, definite) = match node.presence {
        Presence::Unknown | Presence::Up => return None,
        Presence::Suspect => (format!("beats of node {name} are late{ago}"), false),
        Presence::Cut => {
            let by = node.seen_by.join(", ");
            (format!("node {name} is cut off from here{ago}, and heard by {by}"), false)
        }
        Presence::Silent => (format!("node {name} is silent{ago}, and nobody hears it"), true),
    };
    Some(CheckFault { text: text.into(), definite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_is_certain() {
        let node = |presence| NodeStatus {
            name: "gpu-1".into(),
            presence,
            heard_ms_ago: Some(2950),
            seen_by: vec!["gpu-2".into()],
            ..NodeStatus::default()
        };
        for (presence, definite, says) in [
            (Presence::Unknown, None, ""),
            (Presence::Up, None, ""),
            (Presence::Suspect, Some(false), "are late, last heard 2.9 s ago"),
            (Presence::Cut, Some(false), "heard by gpu-2"),
            (Presence::Silent, Some(true), "nobody hears it"),
        ] {
            let fault = against(&node(presence));
            assert_eq!(fault.as_ref().map(|fault| fault.definite), definite);
            assert!(fault.is_none_or(|f| f.text.contains(says) && f.text.contains("gpu-1")));
        }
    }
}
