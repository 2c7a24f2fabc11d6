//! The health of a replica: its states, the signals they come from, and the gate that
//! every pick passes.

use crate::outcome::Outcome;
use crate::replica::Incarnation;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the one authority says of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Health {
    /// Not ready yet; loading a model may take minutes.
    Starting = 0,
    /// Takes its share.
    Healthy = 1,
    /// One signal against it: no new traffic, nothing else happens to it.
    Suspect = 2,
    /// Out: two independent signals, or a definite one.
    Isolated = 3,
    /// Back after isolation, with a growing share.
    Probation = 4,
    /// Finishes what it has, gets nothing new.
    Draining = 5,
    /// Not running, and not meant to.
    Stopped = 6,
}

/// All states, in the order of their numbers.
pub const ALL_HEALTH: [Health; 7] = [
    Health::Starting,
    Health::Healthy,
    Health::Suspect,
    Health::Isolated,
    Health::Probation,
    Health::Draining,
    Health::Stopped,
];

impl Health {
    /// The state behind a stored number; an unknown one reads as `Stopped`.
    #[must_use]
    pub fn from_u8(raw: u8) -> Self {
        ALL_HEALTH.get(usize::from(raw)).copied().unwrap_or(Self::Stopped)
    }

    /// The word for people and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Isolated => "isolated",
            Self::Probation => "probation",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What the health of a replica means for a pick, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Gate {
    /// Takes traffic.
    Open = 0,
    /// A standby in good health: only when nothing on duty takes it.
    Reserve = 1,
    /// Only when nothing is open.
    LastResort = 2,
    /// Only when nothing else is left (statistics speak against it).
    Desperate = 3,
    /// Never: it exited, refuses, is starting, drained or stopped.
    Shut = 4,
}

impl Gate {
    /// The gate behind a stored number; an unknown one is shut.
    #[must_use]
    pub const fn from_u8(raw: u8) -> Self {
        match raw {
            0 => Self::Open,
            1 => Self::Reserve,
            2 => Self::LastResort,
            3 => Self::Desperate,
            _ => Self::Shut,
        }
    }

    /// The gate for a state; `definite` says whether what stands against the replica is an
    /// exit or a refusal rather than statistics.
    #[must_use]
    pub const fn of(health: Health, definite: bool) -> Self {
        match health {
            Health::Healthy | Health::Probation => Self::Open,
            Health::Suspect => Self::LastResort,
            Health::Isolated if !definite => Self::Desperate,
            _ => Self::Shut,
        }
    }
}

/// How much stands against a replica, from nothing to certainty.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// Nothing.
    #[default]
    Nothing,
    /// One signal.
    One,
    /// Two independent signals, or one strong by its own statistics.
    Enough,
    /// It cannot serve, whatever it is asked.
    Certain,
}

/// What stands against a replica. Not the same as its state: statistics may not isolate the
/// last replicas of a service, and stand against them all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How much.
    pub against: Against,
    /// Its kinds: the names of detectors, or finer ones.
    pub by: Vec<&'static str>,
}

/// One measurement about one replica: what probes and the request path report, and all
/// that detectors see.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Key of the replica it is about.
    pub replica: u64,
    /// Which start of it; signals of a dead incarnation are dropped.
    pub incarnation: Incarnation,
    /// Who saw it: `gateway`, `keeper`, or the name of a probe.
    pub observer: &'static str,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: SignalKind,
}

/// What was measured.
#[derive(Debug, Clone)]
pub enum SignalKind {
    /// A real attempt ended so. `Ok` is sent only as the first after faults; the sums are
    /// in the replica's counters.
    Attempt(Outcome),
    /// An attempt waits for its first byte longer than is normal here.
    Waiting {
        /// How long by now.
        waited: Duration,
        /// What is normal: the 99th percentile, once known.
        normal: Option<Duration>,
    },
    /// It runs elsewhere and has not answered within the time that its first answer may take.
    Absent {
        /// How long that was.
        deadline: Duration,
    },
    /// Attempts that ended well and badly since the replica's start, and how long ago it
    /// last moved: what the sweep reads from its counters.
    Tally {
        /// Good attempts.
        good: u64,
        /// Attempts that blame it.
        faults: u64,
        /// … of which nothing came for too long.
        silent: u64,
        /// Since its last byte of any answer.
        still: Duration,
        /// Whether another replica of the service moved meanwhile.
        peers_move: bool,
    },
    /// How long it took lately for its work, and how long its peers took for the like.
    Pace {
        /// What was timed.
        of: Timed,
        /// Its own ordinary time.
        own: Duration,
        /// Of the other replicas of the service.
        peers: Duration,
        /// How many of its own were looked at.
        samples: u64,
    },
    /// How its attempts for requests of one size ended lately.
    Size {
        /// Which size: each is twice the one before.
        class: usize,
        /// Its own faults since its last good answer to one of them.
        row: u64,
        /// Of the other replicas of the service: good, faults.
        peers: (u64, u64),
    },
    /// Attempts that waited for long while younger ones on the same replica were answered.
    PassedOver {
        /// Its own: passed over, answered.
        own: (u64, u64),
        /// Of the other replicas of the service.
        peers: (u64, u64),
    },
    /// It answered under this model name when that one was asked for.
    Named {
        /// A hash of what was asked for.
        asked: u64,
        /// What it said.
        said: Arc<str>,
    },
    /// The name under which it answers differs from its peers', or no longer.
    Differs(Option<Arc<str>>),
    /// One of its series is anomalous by its own past and unlike its peers at the same moment.
    Unusual(Arc<str>),
    /// A probe was answered as it should be, after this long.
    ProbeOk(Duration),
    /// A probe failed.
    ProbeFailed(ProbeFailure),
    /// Its answer deviated from what enough other replicas agreed on.
    Deviated(Arc<str>),
    /// It was asked a question whose answer is known, and answered so.
    Golden {
        /// Which of the service's questions, counted from 0.
        question: usize,
        /// Whether that was right.
        right: bool,
        /// Whether nobody may serve who does not know it.
        required: bool,
        /// What was expected and what came.
        text: Arc<str>,
    },
    /// What a check says of it.
    Check {
        /// The check.
        name: Arc<str>,
        /// What is wrong; `None` when nothing is any more.
        against: Option<CheckFault>,
        /// Whether it says so for the first time.
        news: bool,
    },
    /// What is known of the node it runs on.
    Node {
        /// The node.
        name: Arc<str>,
        /// What is wrong; `None` when nothing is any more.
        against: Option<CheckFault>,
    },
    /// Its process was started (by our supervisor).
    Started,
    /// Its process ended (our supervisor saw it).
    Exited(Arc<str>),
}

/// What a check, or its node, has against a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFault {
    /// For people: what was measured, and what it may be.
    pub text: Arc<str>,
    /// It cannot serve so, whatever it is asked.
    pub definite: bool,
}

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// First tokens and whole answers.
    Answers,
    /// The next token of a stream.
    Tokens,
}

/// Why a probe failed.
#[derive(Debug, Clone)]
pub struct ProbeFailure {
    /// Nobody listens: definite.
    pub refused: bool,
    /// The server says itself that it is not ready (503 while loading).
    pub not_ready: bool,
    /// Nothing came in time, not even an error.
    pub silent: bool,
    /// For people: what was expected, what came.
    pub text: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_states_agree() {
        for (raw, state) in ALL_HEALTH.iter().enumerate() {
            assert_eq!(Health::from_u8(u8::try_from(raw).unwrap()), *state);
            assert_eq!(*state as usize, raw);
        }
        assert_eq!(Health::from_u8(200), Health::Stopped);
    }

    #[test]
    fn only_statistics_leave_the_gate_ajar() {
        assert_eq!(Gate::of(Health::Isolated, true), Gate::Shut);
        assert_eq!(Gate::of(Health::Isolated, false), Gate::Desperate);
        assert_eq!(Gate::of(Health::Suspect, false), Gate::LastResort);
        for health in [Health::Starting, Health::Draining, Health::Stopped] {
            assert_eq!(Gate::of(health, false), Gate::Shut);
        }
    }
}
