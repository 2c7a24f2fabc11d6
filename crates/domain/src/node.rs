//! Nodes: hosts that run replicas for a keeper, and what is known of whether they are there.
//!
//! ```text
//!   beats ─► φ ─► judge(own, peers, now) ─► Up, Suspect, Silent
//!                       ▲                      or Cut: others still hear it
//!   other nodes' sights ┘
//! ```

use crate::phi::Accrual;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// From here on a node gets nothing new where another can take it.
pub const DOUBT: f64 = 3.0;
/// From here on, beyond [`PAUSE`], it is silent.
pub const SILENCE: f64 = 8.0;
/// A beat may be late by this, before silence is certain.
pub const PAUSE: Duration = Duration::from_secs(2);
/// Another node hears it if it has done so within this.
const HEARD_WITHIN: Duration = Duration::from_millis(2500);
/// And for so long after we last did: beats under way when it fell silent are no sight.
const HEARD_AFTER: Duration = Duration::from_secs(1);

/// A host whose agent obeys this keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// Its name, as in `evenkeel node new`.
    pub name: String,
    /// Where its agent listens, such as `10.0.0.7:9910`.
    pub address: String,
    /// Under which name or address its replicas are reached; by default the host of
    /// `address`.
    #[serde(default)]
    pub host: Option<String>,
    /// How long what runs there goes on without its keeper; for ever by default.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub orphan_after: Option<Duration>,
}

impl NodeSettings {
    /// Where its replicas are reached.
    #[must_use]
    pub fn replica_host(&self) -> &str {
        let of_address = || self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        self.host.as_deref().unwrap_or_else(of_address).trim_matches(['[', ']'])
    }
}

/// A node as another one is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where its agent listens.
    pub address: String,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It was not heard yet.
    #[default]
    Unknown,
    /// It beats.
    Up,
    /// Its beats are late.
    Suspect,
    /// It does not beat here, and other nodes hear it: what is between us is broken.
    Cut,
    /// Nobody hears it.
    Silent,
}

impl Presence {
    /// Its name in tables and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Cut => "cut",
            Self::Silent => "silent",
        }
    }

    /// Whether orders reach it, as far as is known.
    #[must_use]
    pub const fn is_reached(self) -> bool {
        matches!(self, Self::Up | Self::Suspect)
    }
}

/// That another node has heard the one in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Who says so.
    pub by: String,
    /// When it last did.
    pub heard: Instant,
}

/// Whether a node is there, from its beats and from what others say of it.
#[must_use]
pub fn judge(own: &Accrual, sights: &[Sight], now: Instant) -> Presence {
    let Some(last) = own.last() else { return Presence::Unknown };
    if own.phi(now, PAUSE) >= SILENCE {
        return if seen_by(last, sights, now).next().is_some() {
            Presence::Cut
        } else {
            Presence::Silent
        };
    }
    if own.phi(now, Duration::ZERO) >= DOUBT { Presence::Suspect } else { Presence::Up }
}

/// Who hears a node that was last heard here at `last`.
pub fn seen_by(last: Instant, sights: &[Sight], now: Instant) -> impl Iterator<Item = &Sight> {
    sights.iter().filter(move |sight| {
        now.saturating_duration_since(sight.heard) <= HEARD_WITHIN
            && sight.heard.saturating_duration_since(last) >= HEARD_AFTER
    })
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where its agent listens.
    pub address: String,
    /// Whether it is there.
    pub presence: Presence,
    /// φ of its beats; not beyond any pause.
    pub phi: f64,
    /// From a beat to its acknowledgement, in microseconds.
    pub rtt_us: Option<u64>,
    /// Since it was last heard, in milliseconds.
    pub heard_ms_ago: Option<u64>,
    /// Nodes that hear it while this one does not.
    pub seen_by: Vec<String>,
    /// Whether orders get through.
    pub connected: bool,
    /// Why not, or what of them was refused, in one line.
    pub why: Option<String>,
    /// When its certificate ends (seconds since the Unix epoch), once known.
    pub expires_unix_s: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::phi::BEAT;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn beating() -> (Accrual, Instant) {
        let (mut own, mut now) = (Accrual::new(), clock::now());
        for _ in 0..100 {
            now += BEAT;
            own.observe(now);
        }
        (own, now)
    }

    fn sight(heard: Instant) -> Vec<Sight> {
        vec![Sight { by: "other".into(), heard }]
    }

    #[test]
    fn silence_and_a_cut_are_told_apart() {
        let (own, last) = beating();
        let none = Vec::new();
        for (at, sights, presence) in [
            (ms(100), none.clone(), Presence::Up),
            (ms(700), none.clone(), Presence::Suspect),
            (ms(2900), none.clone(), Presence::Silent),
            // It was heard there shortly after it was here: it fell silent for both.
            (ms(2900), sight(last + ms(250)), Presence::Silent),
            (ms(2900), sight(last + ms(2700)), Presence::Cut),
            (ms(60_000), sight(last + ms(59_500)), Presence::Cut),
            // The other has not heard it lately either: first a cut, then the end.
            (ms(60_000), sight(last + ms(57_000)), Presence::Silent),
            // What others hear does not matter while we hear it.
            (ms(700), sight(last + ms(700)), Presence::Suspect),
        ] {
            assert_eq!(judge(&own, &sights, last + at), presence, "{at:?} {sights:?}");
        }
        assert_eq!(judge(&Accrual::new(), &none, last), Presence::Unknown);
    }

    #[test]
    fn replicas_are_reached_at_the_nodes_host() {
        let node = |address: &str, host: Option<&str>| NodeSettings {
            name: "a".into(),
            address: address.into(),
            host: host.map(str::to_owned),
            orphan_after: None,
        };
        assert_eq!(node("10.0.0.7:9910", None).replica_host(), "10.0.0.7");
        assert_eq!(node("[fe80::1]:9910", None).replica_host(), "fe80::1");
        assert_eq!(node("10.0.0.7:9910", Some("gpu-1.lan")).replica_host(), "gpu-1.lan");
    }
}
