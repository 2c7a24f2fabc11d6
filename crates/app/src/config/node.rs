//! `[[node]]`: checks.

use super::file::Config;
use super::state_dir;
use evenkeel_agent::{Authority, is_node_name};
use std::collections::HashSet;
use std::time::Duration;

/// Shorter ones would end replicas at each restart of the keeper.
const LEAST_ORPHAN: Duration = Duration::from_secs(10);

/// All contradictions: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    for (at, node) in config.node.iter().enumerate() {
        let mut add = |key: &str, text: String| found.push((format!("node[{at}].{key}"), text));
        if !is_node_name(&node.name) {
            add("name", "up to 63 of a-z, 0-9 and `-`, as in `evenkeel node new`".into());
        }
        if !names.insert(&node.name) {
            add("name", format!("the name `{}` is taken by another node", node.name));
        }
        if !is_address(&node.address) {
            add("address", "a host and a port, such as \"10.0.0.7:9910\"".into());
        }
        if node.replica_host().is_empty() {
            add("host", "a name or an address, such as \"10.0.0.7\"".into());
        }
        if node.orphan_after.is_some_and(|time| time < LEAST_ORPHAN) {
            add("orphan_after", "at least 10s: a keeper that is started again takes some".into());
        }
    }
    if !config.node.is_empty()
        && let Err(error) = Authority::read(&state_dir(config))
    {
        found.push(("node[0]".into(), error.to_string()));
    }
    let named = |node: &Option<String>| {
        let unknown = node.as_ref().filter(|node| !names.contains(node));
        unknown.map(|node| format!("there is no [[node]] `{node}`; add it, or correct the name"))
    };
    for (at, service) in config.service.iter().enumerate() {
        for (which, replica) in service.replica.iter().enumerate() {
            if let Some(text) = named(&replica.node) {
                found.push((format!("service[{at}].replica[{which}].node"), text));
            }
        }
    }
    for (at, job) in config.job.iter().enumerate() {
        if let Some(text) = named(&job.node) {
            found.push((format!("job[{at}].node"), text));
        }
    }
    found
}

/// Whether it is `HOST:PORT`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty()
        && (bracketed || !host.contains(':'))
        && !host.contains([' ', '/', '@'])
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for good in ["10.0.0.7:9910", "gpu-1.lan:1", "[fe80::1]:9910"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["10.0.0.7", ":9910", "a:0", "a:70000", "fe80::1:9910", "http://a:1", "a b:1"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
