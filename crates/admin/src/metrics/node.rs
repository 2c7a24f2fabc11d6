//! Nodes: as many series as are configured.

use super::{Families, Reading, gauge};
use evenkeel_domain::node::Presence;
use std::fmt;

impl Reading {
    /// Whether nodes are there.
    pub(super) fn nodes(&self, to: &mut Families<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return Ok(());
        }
        let help = "1 while a node's beats are heard, late or not.";
        to.gauges("evenkeel_node_up", help, &mut |to| {
            self.nodes.iter().try_for_each(|node| {
                let up = matches!(node.presence, Presence::Up | Presence::Suspect);
                gauge(to, &[("node", &node.name)], f64::from(u8::from(up)))
            })
        })?;
        let help = "1 while another node hears one that the keeper does not.";
        to.gauges("evenkeel_node_cut", help, &mut |to| {
            self.nodes.iter().try_for_each(|node| {
                let cut = node.presence == Presence::Cut;
                gauge(to, &[("node", &node.name)], f64::from(u8::from(cut)))
            })
        })?;
        let help = "1 while orders get through to a node's agent.";
        to.gauges("evenkeel_node_connected", help, &mut |to| {
            self.nodes.iter().try_for_each(|node| {
                gauge(to, &[("node", &node.name)], f64::from(u8::from(node.connected)))
            })
        })?;
        let help = "How unlikely it is that a node's next beat is only late (-log10 of that).";
        to.gauges("evenkeel_node_phi", help, &mut |to| {
            self.nodes.iter().try_for_each(|node| gauge(to, &[("node", &node.name)], node.phi))
        })?;
        let help = "From a beat to its acknowledgement.";
        to.gauges("evenkeel_node_rtt_seconds", help, &mut |to| {
            self.nodes.iter().try_for_each(|node| match node.rtt_us {
                Some(us) => gauge(to, &[("node", &node.name)], us as f64 / 1e6),
                None => Ok(()),
            })
        })
    }
}
