//! What happened, in order: the stream behind the log, the CLI and the dashboard.

use crate::clock;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// How many events are kept for readers that come late: at one a second about an hour.
const KEPT: usize = 4096;

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Event {
    /// Cursor: rises by one, from 1, within one process.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A replica changed its state.
    Health {
        /// The replica.
        replica: String,
        /// State before.
        from: String,
        /// State after.
        to: String,
        /// The evidence.
        why: String,
    },
    /// A new configuration is in force.
    Reloaded,
    /// A configuration was refused; the old one stays.
    ReloadRefused {
        /// What is wrong with it.
        why: String,
    },
    /// A request was refused for good: it had killed too many replicas.
    Quarantined {
        /// The service.
        service: String,
        /// Hash of the request.
        hash: String,
    },
    /// An operator's order.
    Override {
        /// The replica.
        replica: String,
        /// What was ordered, by whom, until when.
        what: String,
    },
    /// Connections to a replica go another way, or straight again.
    Detour {
        /// The replica.
        replica: String,
        /// Where to; absent: straight.
        via: Option<String>,
        /// Who asked for it.
        owner: String,
        /// What for.
        why: String,
    },
    /// A service does less, or more again.
    Degraded {
        /// The service.
        service: String,
        /// Level before.
        from: u8,
        /// Level now.
        to: u8,
        /// What made it so.
        why: String,
    },
    /// More or fewer copies of a service shall run.
    Scaled {
        /// The service.
        service: String,
        /// Copies before.
        from: u32,
        /// Copies now.
        to: u32,
        /// What made it so.
        why: String,
    },
    /// Another service answers in a service's place, or nobody any more.
    FailedOver {
        /// The service.
        service: String,
        /// Who answers; absent: its own replicas.
        to: Option<String>,
    },
    /// A standby has taken over, or goes back; or its first answer was timed.
    Standby {
        /// The service.
        service: String,
        /// The standby.
        replica: String,
        /// Its duty before.
        from: String,
        /// Its duty now.
        to: String,
        /// What made it so.
        why: String,
    },
    /// A job has moved on, or failed.
    Job {
        /// The job.
        job: String,
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
        /// What made it so.
        why: String,
    },
    /// A check says something else.
    Check {
        /// The check.
        check: String,
        /// Which of the things it looks at; empty where there is one.
        subject: String,
        /// What it said.
        from: String,
        /// What it says.
        to: String,
        /// What made it so.
        why: String,
    },
    /// An incident has moved.
    Incident {
        /// Its number.
        id: String,
        /// The replica.
        replica: String,
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
        /// What made it so.
        why: String,
        /// What a person can do next; empty for nothing.
        next: String,
    },
    /// Recovery stopped all it does, or goes on.
    Storm {
        /// Whether it is stopped.
        stopped: bool,
        /// Why.
        why: String,
    },
    /// A burn-rate rule of a service's error budget speaks, or no longer.
    Budget {
        /// The service.
        service: String,
        /// The rule.
        rule: String,
        /// `requests`, `time` or `latency`.
        sli: String,
        /// `page` or `ticket`.
        severity: String,
        /// Whether it speaks.
        firing: bool,
        /// The burn over both windows, and what is left.
        why: String,
    },
    /// An alert fires, is over, or something was done about it.
    Alert {
        /// Its number.
        id: String,
        /// What kind it is, such as `no_replica`.
        alert: String,
        /// The service; empty where it is about none.
        service: String,
        /// `page` or `ticket`.
        severity: String,
        /// `fires`, `resolved`, `acknowledged`, `escalated`, `silenced`, `undelivered` or `lost`.
        to: String,
        /// For people.
        why: String,
    },
    /// The gateway begins to drain.
    Draining,
}

/// A bounded log of events with any number of readers, none of which can hold it up.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { kept: Mutex::new(VecDeque::new()), last: watch::Sender::new(0) }
    }
}

impl EventLog {
    /// Appends an event; the oldest goes when the log is full.
    pub fn push(&self, kind: EventKind) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = *self.last.borrow() + 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Event { seq, at_unix_ms: clock::unix_millis(), kind });
        // Under the lock: two at once must not get the same number, nor the cursor fall back.
        self.last.send_replace(seq);
    }

    /// Events after the cursor, oldest first.
    #[must_use]
    pub fn after(&self, cursor: u64) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|e| e.seq > cursor).cloned().collect()
    }

    /// The newest cursor, to wait on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_its_cursor_goes_on() {
        let log = EventLog::default();
        for _ in 0..KEPT + 10 {
            log.push(EventKind::Reloaded);
        }
        let all = log.after(0);
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].seq, 11);
        assert_eq!(log.after(all[KEPT - 2].seq).len(), 1);
    }

    #[test]
    fn numbers_are_given_once() {
        let log = EventLog::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| log.push(EventKind::Reloaded)));
            }
        });
        let numbers: Vec<u64> = log.after(0).iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    }
}
