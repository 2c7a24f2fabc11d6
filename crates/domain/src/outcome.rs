//! How one attempt on one replica ended. Decided once; everything else reads it.

use serde::Serialize;
use std::fmt;

/// The end of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole and valid answer.
    Ok,
    /// The request itself is at fault; no replica would answer it otherwise.
    ClientFault,
    /// The replica is busy and says so (429, 503, `RESOURCE_EXHAUSTED`): not death.
    Backpressure,
    /// The caller's own deadline ran out.
    Expired,
    /// The replica answered wrongly, or not in time.
    ReplicaFault(ReplicaFault),
    /// The way to the replica broke.
    NetworkFault(NetworkFault),
    /// The caller left, or another attempt won.
    Cancelled,
}

/// What a replica did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaFault {
    /// A 5xx other than 503, or a gRPC status that says the same.
    ServerError,
    /// No head of an answer within the first-byte deadline.
    FirstByteTimeout,
    /// A begun answer that stopped moving.
    Stalled,
    /// An answer that ended before its end.
    Truncated,
    /// An answer that is not what its type promises, or empty where it may not be.
    Garbage,
    /// An answer that went on past what was asked for.
    Endless,
}

/// How the way to a replica broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFault {
    /// Nobody listens there.
    Refused,
    /// No connection within the connect deadline.
    ConnectTimeout,
    /// Name, route or TLS handshake failed.
    Unreachable,
    /// Closed or reset before a byte of the answer.
    Reset,
}

/// Everything an outcome can be, in the order of [`Outcome::index`].
pub const ALL: [Outcome; Outcome::COUNT] = [
    Outcome::Ok,
    Outcome::ClientFault,
    Outcome::Backpressure,
    Outcome::Expired,
    Outcome::ReplicaFault(ReplicaFault::ServerError),
    Outcome::ReplicaFault(ReplicaFault::FirstByteTimeout),
    Outcome::ReplicaFault(ReplicaFault::Stalled),
    Outcome::ReplicaFault(ReplicaFault::Truncated),
    Outcome::ReplicaFault(ReplicaFault::Garbage),
    Outcome::ReplicaFault(ReplicaFault::Endless),
    Outcome::NetworkFault(NetworkFault::Refused),
    Outcome::NetworkFault(NetworkFault::ConnectTimeout),
    Outcome::NetworkFault(NetworkFault::Unreachable),
    Outcome::NetworkFault(NetworkFault::Reset),
    Outcome::Cancelled,
];

impl Outcome {
    /// How many different outcomes there are.
    pub const COUNT: usize = 15;

    /// A dense number for counters, stable within one process.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::ClientFault => 1,
            Self::Backpressure => 2,
            Self::Expired => 3,
            Self::ReplicaFault(fault) => 4 + fault as usize,
            Self::NetworkFault(fault) => 10 + fault as usize,
            Self::Cancelled => 14,
        }
    }

    /// The metric label: one closed set of words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientFault => "client_fault",
            Self::Backpressure => "backpressure",
            Self::Expired => "expired",
            Self::ReplicaFault(ReplicaFault::ServerError) => "server_error",
            Self::ReplicaFault(ReplicaFault::FirstByteTimeout) => "first_byte_timeout",
            Self::ReplicaFault(ReplicaFault::Stalled) => "stalled",
            Self::ReplicaFault(ReplicaFault::Truncated) => "truncated",
            Self::ReplicaFault(ReplicaFault::Garbage) => "garbage",
            Self::ReplicaFault(ReplicaFault::Endless) => "endless",
            Self::NetworkFault(NetworkFault::Refused) => "refused",
            Self::NetworkFault(NetworkFault::ConnectTimeout) => "connect_timeout",
            Self::NetworkFault(NetworkFault::Unreachable) => "unreachable",
            Self::NetworkFault(NetworkFault::Reset) => "reset",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this counts against the replica. A client's fault or deadline never does,
    /// nor does a busy answer.
    #[must_use]
    pub const fn blames_replica(self) -> bool {
        matches!(self, Self::ReplicaFault(_) | Self::NetworkFault(_))
    }

    /// Hard evidence that this replica cannot answer now, whatever it is asked. A resend
    /// after it is bounded by admission alone, not by the retry budget.
    #[must_use]
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::NetworkFault(_))
    }

    /// Whether nothing came for too long, rather than something wrong: a pause of the process
    /// looks the same at first.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(
            self,
            Self::ReplicaFault(ReplicaFault::Stalled | ReplicaFault::FirstByteTimeout)
                | Self::NetworkFault(NetworkFault::ConnectTimeout)
        )
    }

    /// Whether another replica may do better.
    #[must_use]
    pub const fn worth_retrying(self) -> bool {
        matches!(self, Self::ReplicaFault(_) | Self::NetworkFault(_) | Self::Backpressure)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_dense_and_match_the_list() {
        for (at, outcome) in ALL.iter().enumerate() {
            assert_eq!(outcome.index(), at, "{outcome}");
        }
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = ALL.iter().map(|o| o.label()).collect();
        assert_eq!(labels.len(), Outcome::COUNT);
    }

    #[test]
    fn what_a_client_does_never_blames_a_replica() {
        for outcome in [Outcome::ClientFault, Outcome::Expired, Outcome::Cancelled, Outcome::Ok] {
            assert!(!outcome.blames_replica());
        }
        assert!(!Outcome::Backpressure.blames_replica());
        assert!(Outcome::Backpressure.worth_retrying());
    }
}
