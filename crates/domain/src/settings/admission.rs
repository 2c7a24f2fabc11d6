//! Settings of what a service takes on: how much a replica gets at once, and who waits.

use super::Protocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many attempts a replica is given at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Concurrency {
    /// Find out what each replica can start, from its own queue where it tells of one, else
    /// from the time to first token, and give it no more. Off, only `max_in_flight` bounds it.
    pub adaptive: bool,
    /// The most that is found; 0 for no bound.
    pub max: u32,
    /// Port on each replica's host where it tells its load, where that is another one than
    /// it serves on: 8002 for Triton.
    pub metrics_port: Option<u16>,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { adaptive: true, max: 0, metrics_port: None }
    }
}

/// Who waits while all replicas have what they can start, and for how long. How long
/// requests wait when there is no replica at all says [`Hold`](super::Hold), which also
/// bounds how many wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// How long a request waits for a place at most. One that would wait longer is refused
    /// at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
    /// Time to first token that the service is meant to keep: the two below follow from it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub objective: Duration,
    /// Wait that is normal; by default a tenth of the objective, 5 ms for `http` and `grpc`.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub target: Option<Duration>,
    /// How long every wait must be above `target` before the service counts as overloaded;
    /// by default the objective, 100 ms for `http` and `grpc`.
    #[serde(with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub interval: Option<Duration>,
}

impl Default for Queue {
    /// People wait five seconds for a first token without leaving.
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(10),
            objective: Duration::from_secs(5),
            target: None,
            interval: None,
        }
    }
}

/// CoDel's constants for work of milliseconds (RFC 8289).
const SHORT_WORK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

impl Queue {
    /// Target and interval of a service that speaks `protocol`.
    #[must_use]
    pub fn codel(&self, protocol: Protocol) -> (Duration, Duration) {
        let (target, interval) = match protocol {
            Protocol::Openai | Protocol::Kserve => (self.objective / 10, self.objective),
            Protocol::Grpc | Protocol::Http => SHORT_WORK,
        };
        (self.target.unwrap_or(target), self.interval.unwrap_or(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_follows_from_the_objective_and_the_protocol() {
        let ms = Duration::from_millis;
        let queue = Queue::default();
        assert_eq!(queue.codel(Protocol::Openai), (ms(500), ms(5000)));
        assert_eq!(queue.codel(Protocol::Http), (ms(5), ms(100)));
        let set = Queue { target: Some(ms(50)), ..queue };
        assert_eq!(set.codel(Protocol::Kserve), (ms(50), ms(5000)));
    }
}
