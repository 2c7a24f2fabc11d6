//! What is under the lock: who waits, who was given a place. Pure but for the wake-ups.

use super::codel::{Codel, Law};
use super::lane::Lane;
use super::pace::Pace;
use super::places::Places;
use super::{Comer, No, Rules};
use evenkeel_domain::pool::Refused;
use evenkeel_domain::settings::Tier;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Numbers of requests that had a place before are below those of all others.
const AGAIN: u64 = 1 << 63;

/// Somebody who waits.
#[derive(Debug)]
struct Entry {
    wake: oneshot::Sender<Woken>,
    /// When it began to wait.
    at: Instant,
    deadline: Instant,
    rules: Rules,
    /// It could not use a place since this happened.
    passed: Option<u64>,
}

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// A place is free, and nobody else is told of it.
    Go,
    /// It waited for too long.
    TooLate,
}

/// Requests of one tier.
#[derive(Debug, Default)]
struct Line {
    lane: Lane<Entry>,
    codel: Codel,
    pace: Pace,
    law: Option<Law>,
    overloaded: bool,
}

/// All that wait.
#[derive(Debug)]
pub(super) struct State {
    /// Had a place before, and go first.
    front: BTreeMap<u64, Entry>,
    lines: [Line; 2],
    granted: u32,
    next: u64,
    next_again: u64,
    /// Counts what may have made places.
    events: u64,
    /// Since when there is a replica; `None` while there is none.
    up_since: Option<Instant>,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            front: BTreeMap::new(),
            lines: Default::default(),
            granted: 0,
            next: AGAIN,
            next_again: 0,
            events: 0,
            up_since: Some(now),
        }
    }

    pub(super) fn waiting(&self) -> u32 {
        let all = self.front.len() + self.lines.iter().map(|line| line.lane.len()).sum::<usize>();
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    pub(super) fn granted(&self) -> u32 {
        self.granted
    }

    pub(super) fn is_overloaded(&self, tier: Tier) -> bool {
        self.lines[tier as usize].overloaded
    }

    /// Takes note of whether there is a replica.
    pub(super) fn see(&mut self, places: Places, now: Instant) {
        match (places.any, self.up_since) {
            (true, None) => self.up_since = Some(now),
            (false, Some(_)) => {
                self.up_since = None;
                self.lines.iter_mut().for_each(|line| line.codel.reset());
            }
            _ => {}
        }
    }

    /// Ends overloads that are past.
    pub(super) fn calm_down(&mut self, now: Instant) {
        for line in &mut self.lines {
            line.overloaded = line.law.is_some_and(|law| line.codel.is_overloaded(law, now));
        }
    }

    /// Something may have made places: who could not use one looks again.
    pub(super) fn happened(&mut self) {
        self.events += 1;
    }

    /// Until when a request may wait that began at `at`.
    pub(super) fn until(&self, at: Instant, rules: &Rules) -> Instant {
        match self.up_since {
            Some(since) => at.max(since) + rules.max_wait,
            None => at + rules.hold,
        }
    }

    /// Whether there is a replica.
    pub(super) fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// Refuses whom waiting would be of no use.
    pub(super) fn admit(
        &mut self,
        comer: &Comer,
        rules: &Rules,
        gap: Option<Duration>,
        places: Places,
        now: Instant,
    ) -> Result<(), No> {
        let waiting = self.waiting();
        // The second half of the places is for core requests.
        let most = match comer.tier {
            Tier::Core => rules.most,
            Tier::BestEffort => rules.most / 2,
        };
        let no = |why, wait| Err(No { why, waiting, wait });
        if waiting >= most {
            return no(Refused::QueueFull, self.wait(comer.tier, gap, now));
        }
        // While it is being found out how much the replicas take, those who wait may all get
        // a place in no time.
        if !self.is_up() || !places.settled {
            return Ok(());
        }
        let line = &mut self.lines[comer.tier as usize];
        line.law = Some(rules.law);
        line.overloaded = line.codel.is_overloaded(rules.law, now);
        // Less than half of what is under way is no queue: it keeps the replicas busy.
        let enough = line.overloaded && line.lane.len() as u32 >= (places.used / 2).max(1);
        let own = comer.deadline.saturating_duration_since(now).min(rules.max_wait);
        let bound = if enough { own.min(rules.law.target) } else { own };
        match self.wait(comer.tier, gap, now) {
            Some(wait) if wait > bound => no(Refused::Overloaded, Some(wait)),
            _ => Ok(()),
        }
    }

    /// How long a request of this tier would wait; `None` when that is not known.
    fn wait(&self, tier: Tier, gap: Option<Duration>, now: Instant) -> Option<Duration> {
        let [core, best_effort] = &self.lines;
        let ahead = core.lane.len() + self.front.len();
        match tier {
            Tier::Core => core.pace.wait(ahead, gap, now),
            // What is given to core requests slows the pace of the others, and is in it.
            Tier::BestEffort => {
                let own = best_effort.pace.wait(best_effort.lane.len(), gap, now)?;
                let core = if ahead > 0 { core.pace.wait(ahead - 1, gap, now) } else { None };
                Some(own + core.unwrap_or_default())
            }
        }
    }

    /// Lets somebody wait; gives its number and what wakes it.
    pub(super) fn push(
        &mut self,
        comer: Comer,
        rules: Rules,
        now: Instant,
    ) -> (u64, oneshot::Receiver<Woken>) {
        let (wake, woken) = oneshot::channel();
        let deadline = comer.deadline;
        let entry = Entry { wake, at: now, deadline, rules, passed: None };
        if comer.again {
            let number = self.next_again;
            self.next_again += 1;
            self.front.insert(number, entry);
            return (number, woken);
        }
        let number = self.next;
        self.next += 1;
        self.lines[comer.tier as usize].lane.push(number, now, comer.flow, comer.cost, entry);
        (number, woken)
    }

    /// Lets somebody wait on who could not use the place it got, before all others.
    pub(super) fn push_back(
        &mut self,
        number: u64,
        comer: Comer,
        rules: Rules,
        at: Instant,
    ) -> oneshot::Receiver<Woken> {
        let (wake, woken) = oneshot::channel();
        let passed = Some(self.events);
        let deadline = comer.deadline;
        self.front.insert(number, Entry { wake, at, deadline, rules, passed });
        woken
    }

    /// Takes out who waits no longer; false when it was woken already.
    pub(super) fn remove(&mut self, number: u64, tier: Tier) -> bool {
        self.front.remove(&number).is_some()
            || self.lines[tier as usize].lane.remove(number).is_some()
    }

    /// A place that was given is taken, or was of no use.
    pub(super) fn settle_grant(&mut self) {
        self.granted = self.granted.saturating_sub(1);
    }

    /// Gives free places to those who are next.
    pub(super) fn dispatch(&mut self, places: Places, now: Instant) {
        while self.granted < places.free {
            let Some(entry) = self.pop(now) else { return };
            if entry.deadline <= now || self.until(entry.at, &entry.rules) <= now {
                // It would cost a replica something and its client nothing but time.
                let _ = entry.wake.send(Woken::TooLate);
                continue;
            }
            self.granted += 1;
            // Who has just left gives the place back.
            let _ = entry.wake.send(Woken::Go);
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Entry> {
        let events = self.events;
        let next = self.front.iter().find(|(_, entry)| entry.passed != Some(events));
        if let Some(number) = next.map(|(number, _)| *number) {
            return self.front.remove(&number);
        }
        let up_since = self.up_since?;
        for line in &mut self.lines {
            let late = line.overloaded.then_some(line.law).flatten();
            let Some((_, at, entry)) = line.lane.pop(late.map(|law| ago(now, law.interval))) else {
                continue;
            };
            let law = entry.rules.law;
            let others = !line.lane.is_empty();
            line.pace.given(others, now);
            let waited = now.saturating_duration_since(at.max(up_since));
            line.codel.waited(waited, !others, law, now);
            line.law = Some(law);
            line.overloaded = line.codel.is_overloaded(law, now);
            debug_assert_eq!(entry.at, at);
            return Some(entry);
        }
        None
    }
}

fn ago(now: Instant, time: Duration) -> Instant {
    now.checked_sub(time).unwrap_or(now)
}
