//! Nodes that come and go with the configuration.
//!
//! ```text
//!   in the file ──► commanded ── gone from the file ──► leaving ── nothing finishes there ──► left
//!                       ▲                                  │        any more: all is stopped
//!                       └────────── in the file again ─────┘
//! ```
//! Who finishes is decided by the fleet, as for what runs here.

use super::{Hosts, follow};
use crate::config::Config;
use evenkeel_agent::beat::{self, Heard, Watch};
use evenkeel_agent::{Authority, Remote, RemoteSettings, Term, next_term};
use evenkeel_domain::node::{NodeSettings, NodeStatus, Peer};
use evenkeel_domain::orchestrator::Orchestrator;
use evenkeel_domain::rng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long what is stopped on a node that has left may take to end.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// A node that is commanded.
pub(super) struct Node {
    pub(super) settings: NodeSettings,
    pub(super) remote: Arc<Remote>,
    /// Whether it has left the configuration: what still finishes there is waited for.
    leaving: bool,
    followers: Vec<AbortHandle>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.followers.iter().for_each(AbortHandle::abort);
    }
}

impl Hosts {
    /// Commands these nodes from now on, and no others.
    ///
    /// # Errors
    /// When there is no identity to command with; then nothing has changed.
    pub(in crate::keeper) fn set_nodes(&mut self, config: &Config) -> Result<(), String> {
        let wanted = &config.node;
        if wanted.is_empty() && self.nodes.is_empty() {
            return Ok(());
        }
        let staying = self.nodes.values().filter(|node| !node.leaving).count();
        let known = |n: &NodeSettings| {
            self.nodes.get(&n.name).is_some_and(|node| !node.leaving && node.settings == *n)
        };
        if wanted.len() == staying && wanted.iter().all(known) {
            return Ok(());
        }
        let authority = Authority::read(&self.state_dir).map_err(|e| e.to_string())?;
        let term = match self.term {
            Some(term) => term,
            None => {
                next_term(&self.state_dir, rng::from_os().u64(..)).map_err(|e| e.to_string())?
            }
        };
        let mut new = Vec::new();
        for settings in wanted {
            if self.nodes.get(&settings.name).is_none_or(|known| known.settings != *settings) {
                new.push(self.connect(settings, term, &authority)?);
            }
        }
        if self.watch.is_none() {
            let watch = Watch::new();
            follow(watch.subscribe(), &self.beaten);
            self.watch = Some(watch);
        }
        // Who leaves is heard until it has left.
        let named = |name: &str| wanted.iter().any(|settings| settings.name == name);
        let leaving = self.nodes.values().map(|node| &node.settings);
        let leaving = leaving.filter(|settings| !named(&settings.name)).cloned();
        let all: Vec<NodeSettings> = wanted.iter().cloned().chain(leaving).collect();
        self.listen(&authority, &all)?;
        self.term = Some(term);
        self.replace(wanted, new);
        Ok(())
    }

    fn listen(&mut self, authority: &Authority, all: &[NodeSettings]) -> Result<(), String> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        watch.set(authority, all).map_err(|e| e.to_string())
    }

    fn connect(
        &self,
        settings: &NodeSettings,
        term: Term,
        authority: &Authority,
    ) -> Result<Node, String> {
        let (node, state_dir) = (settings.clone(), self.state_dir.clone());
        let remote = Remote::new(RemoteSettings { node, term, state_dir }, authority)
            .map_err(|e| e.to_string())?;
        let followers = vec![
            follow(remote.subscribe(), &self.changed),
            follow(remote.jobs(), &self.changed),
            follow(remote.link(), &self.changed),
        ];
        Ok(Node { settings: settings.clone(), remote: Arc::new(remote), leaving: false, followers })
    }

    fn replace(&mut self, wanted: &[NodeSettings], new: Vec<Node>) {
        for (name, mut node) in std::mem::take(&mut self.nodes) {
            let stays = wanted.contains(&node.settings);
            if stays || wanted.iter().all(|other| other.name != name) {
                node.leaving = !stays;
                self.nodes.insert(name, node);
            }
        }
        self.nodes.extend(new.into_iter().map(|node| (node.settings.name.clone(), node)));
        let all: Vec<Peer> = wanted
            .iter()
            .map(|n| Peer { name: n.name.clone(), address: n.address.clone() })
            .collect();
        for (name, node) in self.nodes.iter().filter(|(_, node)| !node.leaving) {
            node.remote.want_peers(beat::peers_of(name, &all));
        }
        self.changed.send_modify(|number| *number += 1);
    }

    /// Lets nodes go that have left the configuration, once nothing is to run on them any more.
    pub(super) fn let_go(&mut self, busy: &BTreeSet<String>) {
        let over = |(name, node): &(&String, &Node)| node.leaving && !busy.contains(*name);
        let over: Vec<String> =
            self.nodes.iter().filter(over).map(|(name, _)| name.clone()).collect();
        for name in &over {
            let Some(node) = self.nodes.remove(name) else { continue };
            let (name, remote) = (name.clone(), node.remote.clone());
            // It is told to stop everything, and heard no more.
            tokio::spawn(async move {
                if !remote.stop_all(LEAVE_WITHIN).await {
                    tracing::warn!(node = name, "it has left, and may still run replicas");
                }
            });
        }
        if over.is_empty() {
            return;
        }
        let all: Vec<_> = self.nodes.values().map(|node| node.settings.clone()).collect();
        let unheard = Authority::read(&self.state_dir)
            .map_err(|error| error.to_string())
            .and_then(|authority| self.listen(&authority, &all));
        if let Err(error) = unheard {
            // Beats to one that is gone are of no use, and do no harm.
            tracing::warn!(error, "nodes that have left are still beaten to");
        }
        self.changed.send_modify(|number| *number += 1);
    }
}

impl Node {
    /// What is known of it.
    pub(super) fn status(&self, heard: &Heard) -> NodeStatus {
        let link = self.remote.link().borrow().clone();
        NodeStatus {
            name: self.settings.name.clone(),
            address: self.settings.address.clone(),
            presence: heard.presence,
            phi: heard.phi,
            rtt_us: heard.rtt.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
            heard_ms_ago: heard.ago.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            seen_by: heard.seen_by.clone(),
            connected: link.connected,
            why: link.why.or_else(|| heard.error.clone()),
            expires_unix_s: link.expires_unix_s,
        }
    }
}
