//! Beats: whether the other end is there, told on a connection of its own, so that a long
//! message does not look like silence.
//!
//! ```text
//!   keeper ══ Beat, every 250 ms ══► agent      each end keeps the times of arrival
//!          ◄══ Ack: whom I hear ════
//!   agent  ══ Beat ═════════════════► up to three other agents
//! ```

mod hearing;
mod pulse;
mod watch;

pub(crate) use hearing::{Hearing, acknowledge, hear_keeper, with_peers};
pub use watch::{Heard, Watch};

use evenkeel_domain::node::Peer;

/// Other nodes that each one beats to: more than two must fail with it before a cut looks
/// like silence.
const WITNESSES: usize = 3;

/// Whom each node beats to: the next ones in a circle, so that all are heard by as many.
#[must_use]
pub fn peers_of(name: &str, all: &[Peer]) -> Vec<Peer> {
    let Some(at) = all.iter().position(|peer| peer.name == name) else { return Vec::new() };
    let others = all.iter().cycle().skip(at + 1).take(all.len().saturating_sub(1));
    others.take(WITNESSES).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_heard_by_as_many_as_it_hears() {
        let peer = |i: u32| Peer { name: format!("n{i}"), address: format!("h{i}:1") };
        for count in 0..8 {
            let all: Vec<Peer> = (0..count).map(peer).collect();
            let beats: Vec<(String, Peer)> = all
                .iter()
                .flat_map(|from| {
                    peers_of(&from.name, &all).into_iter().map(|to| (from.name.clone(), to))
                })
                .collect();
            assert!(beats.iter().all(|(from, to)| *from != to.name));
            let most = WITNESSES.min((count as usize).saturating_sub(1));
            for one in &all {
                assert_eq!(beats.iter().filter(|(_, to)| to == one).count(), most);
                assert_eq!(beats.iter().filter(|(from, _)| *from == one.name).count(), most);
            }
        }
        assert!(peers_of("nobody", &[peer(1)]).is_empty());
    }
}
