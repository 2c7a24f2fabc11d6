//! Starts counted on across lives of the agent. Pure.
//!
//! An agent that was started again counts the starts of its instances from 1. To the keeper
//! a later start has a higher number, whichever agent made it; so what an earlier life had
//! counted is added.

use evenkeel_domain::orchestrator::{InstanceStatus, Phase};
use std::collections::BTreeMap;

/// What was counted before this life.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    incarnation: u64,
    restarts: u64,
    ends: u64,
}

/// Lives of one agent.
#[derive(Debug, Default)]
pub(super) struct Lives {
    life: Option<u64>,
    before: BTreeMap<String, Before>,
}

impl Lives {
    /// The agent says which life it is in. If it is another one, all that ran there has
    /// ended; gives it so, from what was known.
    pub(super) fn begin(
        &mut self,
        life: u64,
        known: &[InstanceStatus],
        now_ms: u64,
    ) -> Option<Vec<InstanceStatus>> {
        let earlier = self.life.replace(life);
        if earlier.is_none_or(|earlier| earlier == life) {
            return None;
        }
        self.before = known
            .iter()
            .map(|status| {
                let ended = u64::from(status.phase.is_running());
                let (incarnation, restarts) = (status.incarnation, status.restarts);
                let ends = status.ends + ended;
                (status.name.clone(), Before { incarnation, restarts, ends })
            })
            .collect();
        Some(known.iter().map(|status| ended(status, now_ms)).collect())
    }

    /// A status as the keeper sees it.
    pub(super) fn seen(&self, mut status: InstanceStatus, node: &str) -> InstanceStatus {
        if let Some(before) = self.before.get(&status.name) {
            status.incarnation += before.incarnation;
            // The first start of another life is one more.
            let again = u64::from(status.incarnation > before.incarnation);
            status.restarts += before.restarts + again;
            status.ends += before.ends;
        }
        status.node = Some(node.to_owned());
        status
    }

    /// What the keeper calls a start, as the agent counts it; `None` if it was in an earlier
    /// life.
    pub(super) fn told(&self, name: &str, incarnation: u64) -> Option<u64> {
        let before = self.before.get(name).map_or(0, |before| before.incarnation);
        incarnation.checked_sub(before).filter(|told| *told > 0)
    }

    /// What the agent calls a start, as the keeper counts it.
    pub(super) fn counted(&self, name: &str, incarnation: u64) -> u64 {
        self.before.get(name).map_or(0, |before| before.incarnation) + incarnation
    }
}

fn ended(status: &InstanceStatus, now_ms: u64) -> InstanceStatus {
    let mut status = status.clone();
    if status.phase.is_running() {
        status.phase = Phase::Backoff { until_ms: now_ms };
        status.last_exit = Some("ended with the agent of its node".into());
        status.ends += 1;
    }
    (status.pid, status.guard_pid, status.started_ms) = (None, None, None);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(incarnation: u64, phase: Phase) -> InstanceStatus {
        let (restarts, pid) = (incarnation.saturating_sub(1), Some(7));
        InstanceStatus { phase, incarnation, restarts, pid, ..InstanceStatus::new("a-0", "a") }
    }

    #[test]
    fn starts_are_counted_on() {
        let mut lives = Lives::default();
        assert_eq!(lives.begin(1, &[], 5), None);
        let third = lives.seen(status(3, Phase::Ready), "n");
        assert_eq!((third.incarnation, third.node.as_deref()), (3, Some("n")));
        assert_eq!(lives.begin(1, std::slice::from_ref(&third), 5), None, "the same life");
        let gone = lives.begin(2, &[third], 5).expect("another life");
        assert_eq!((gone[0].pid, gone[0].incarnation, gone[0].ends), (None, 3, 1));
        assert!(matches!(gone[0].phase, Phase::Backoff { .. }));
        assert_eq!(lives.seen(status(0, Phase::Stopped), "n").restarts, 2);
        let fourth = lives.seen(status(1, Phase::Ready), "n");
        assert_eq!((fourth.incarnation, fourth.restarts, fourth.ends), (4, 3, 1));
        assert_eq!((lives.told("a-0", 4), lives.told("a-0", 3)), (Some(1), None));
        assert_eq!((lives.told("b-0", 1), lives.counted("a-0", 1)), (Some(1), 4));
        lives.begin(3, &[fourth], 6).expect("a third life");
        assert_eq!(lives.seen(status(1, Phase::Ready), "n").incarnation, 5);
    }
}
