//! What a drill does when.
//!
//! ```text
//!  steady ──held──► fault ──all ended──► recover ──all open for 1 s──► after ──► over
//!    │ not held       │ stop condition      │ in vain        ▲ relapse  │
//!    └──► over        └──► over             └──► over        └──────────┘
//! ```

use crate::plan::marks::{Timeline, millis};
use crate::plan::watch::Watch;
use crate::plan::{Drill, Lane, Look, Mark, MarkKind, Resolved, Seen, Task};
use crate::report::FaultSpan;
use std::time::Duration;

/// What comes back must stay for so long to count.
const STAYS: Duration = Duration::from_secs(1);

/// Where a drill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// What must hold is looked at.
    Steady,
    /// Faults come and go.
    Fault,
    /// All faults are over.
    Recover,
    /// All is well again, and watched on.
    After,
    /// Nothing more is done.
    Over,
}

impl Phase {
    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Steady => "steady state",
            Self::Fault => "fault",
            Self::Recover => "recovery",
            Self::After => "after",
            Self::Over => "over",
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Put this task's fault in place.
    Inject(usize),
    /// Remove it.
    Remove(usize),
    /// Remove everything; it is over.
    End,
}

/// One fault as it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// Which task.
    pub task: usize,
    /// Since the load began.
    pub from: Duration,
    /// Till when; `None` while it is there.
    pub to: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// When it was ordered last, since the first fault.
    ordered: Option<Duration>,
    /// Ordered, and not yet told of.
    pending: bool,
    /// There.
    active: bool,
    over: bool,
}

/// The course of one drill. Times are since its load began.
#[derive(Debug)]
pub struct Machine {
    drill: Drill,
    tasks: Vec<Task>,
    states: Vec<State>,
    phase: Phase,
    /// When that began.
    since: Duration,
    /// When the first fault was ordered.
    first: Option<Duration>,
    /// When the last one was over.
    faults_over: Option<Duration>,
    aborted: Option<String>,
    pub(super) injections: Vec<Injection>,
    pub(super) timeline: Timeline,
    pub(super) watch: Watch,
}

impl Machine {
    /// Ready to begin.
    #[must_use]
    pub fn new(drill: Drill, resolved: Resolved, look: &Look) -> Self {
        let mut timeline = Timeline::default();
        timeline.mark(Duration::ZERO, MarkKind::Phase, Phase::Steady.label());
        Self {
            watch: Watch::new(&drill, &resolved, look),
            states: vec![State::default(); resolved.tasks.len()],
            tasks: resolved.tasks,
            phase: Phase::Steady,
            since: Duration::ZERO,
            first: None,
            faults_over: None,
            aborted: None,
            injections: Vec::new(),
            timeline,
            drill,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The tasks, by number.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The drill.
    #[must_use]
    pub fn drill(&self) -> &Drill {
        &self.drill
    }

    /// Why it was broken off.
    #[must_use]
    pub fn aborted(&self) -> Option<&str> {
        self.aborted.as_deref()
    }

    pub(super) fn faults_over(&self) -> Option<Duration> {
        self.faults_over
    }

    /// Faults, marks and states, for a report.
    #[must_use]
    pub fn spans(&self) -> (Vec<FaultSpan>, Vec<Mark>, Vec<Lane>) {
        let span = |injection: &Injection| {
            let task = &self.tasks[injection.task];
            FaultSpan {
                what: task.what.clone(),
                on: task.replica.clone().unwrap_or_else(|| "evenkeel".into()),
                from_ms: millis(injection.from),
                to_ms: millis(injection.to.unwrap_or(injection.from)),
            }
        };
        let Timeline { marks, lanes } = &self.timeline;
        (self.injections.iter().map(span).collect(), marks.clone(), lanes.clone())
    }

    /// All marks so far.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.timeline.marks
    }

    /// Takes in what was seen; says what is to be done.
    pub fn step(&mut self, now: Duration, seen: &Seen) -> Vec<Order> {
        self.watch.take(now, seen, &mut self.timeline);
        if self.phase == Phase::Over {
            return Vec::new();
        }
        if let Some(why) = self.stop(now) {
            return self.abort(now, why);
        }
        match self.phase {
            Phase::Steady => self.steady(now),
            Phase::Fault => self.faults(now),
            Phase::Recover => self.recover(now),
            Phase::After => self.after(now),
            Phase::Over => Vec::new(),
        }
    }

    /// A task's fault is there, or could not be put there.
    pub fn injected(
        &mut self,
        now: Duration,
        task: usize,
        result: Result<(), String>,
    ) -> Vec<Order> {
        let (Some(state), Some(of)) = (self.states.get_mut(task), self.tasks.get(task)) else {
            return Vec::new();
        };
        state.pending = false;
        let on = of.replica.clone().unwrap_or_else(|| "evenkeel".into());
        if let Err(why) = result {
            let again = of.every.is_some() && self.injections.iter().any(|i| i.task == task);
            if again {
                // One that is down already cannot be struck; its next turn comes.
                let text = format!("{} on {on} is left out this time: {why}", of.what);
                self.timeline.mark(now, MarkKind::Event, text);
                return Vec::new();
            }
            state.over = true;
            let why = format!("`{}` on {on} could not be put in place: {why}", of.what);
            return self.abort(now, why);
        }
        let at_once = of.kind.is_over_at_once();
        state.active = !at_once;
        let text = format!("{} on {on}", of.what);
        self.injections.push(Injection { task, from: now, to: at_once.then_some(now) });
        self.watch.struck(now, of);
        self.timeline.mark(now, MarkKind::Fault, text);
        Vec::new()
    }

    /// Breaks it off.
    pub fn abort(&mut self, now: Duration, why: impl Into<String>) -> Vec<Order> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        let why = why.into();
        self.timeline.mark(now, MarkKind::Aborted, why.clone());
        self.aborted = Some(why);
        self.over(now)
    }

    fn over(&mut self, now: Duration) -> Vec<Order> {
        for open in self.injections.iter_mut().filter(|injection| injection.to.is_none()) {
            open.to = Some(now);
        }
        self.enter(now, Phase::Over);
        vec![Order::End]
    }

    fn enter(&mut self, now: Duration, phase: Phase) {
        self.phase = phase;
        self.since = now;
        self.timeline.mark(now, MarkKind::Phase, phase.label());
    }

    /// A stop condition that is met.
    fn stop(&self, now: Duration) -> Option<String> {
        if now > self.drill.limits.time {
            return Some(format!(
                "it lasts longer than `limits.time` ({:?})",
                self.drill.limits.time
            ));
        }
        if self.phase == Phase::Steady {
            return None;
        }
        if self.drill.limits.budget
            && let Err(why) = self.watch.budget()
        {
            return Some(why);
        }
        let (stop, load) = (&self.drill.stop, self.watch.load());
        if load.failed > stop.failed {
            return Some(format!(
                "{} requests failed, `stop.failed` is {}",
                load.failed, stop.failed
            ));
        }
        let gap = self.watch.gap(now);
        (gap > stop.gap)
            .then(|| format!("no good answer for {gap:.1?}, `stop.gap` is {:?}", stop.gap))
    }

    fn steady(&mut self, now: Duration) -> Vec<Order> {
        let (steady, load) = (&self.drill.steady, self.watch.load());
        let why = if load.failed > steady.failed {
            Some(format!("{} requests failed before anything was done", load.failed))
        } else if load.slowest > steady.longest_wait {
            let bound = steady.longest_wait;
            Some(format!("an answer took {:.1?}, `steady.longest_wait` is {bound:?}", load.slowest))
        } else if now < steady.lasts
            || (load.ended == 0 && now < steady.lasts + self.drill.load.timeout)
        {
            return Vec::new();
        } else if load.ended == 0 {
            Some("no answer came at all: is `load.url` where clients connect?".into())
        } else {
            self.too_few()
        };
        if let Some(why) = why {
            return self.abort(now, format!("no steady state: {why}"));
        }
        self.first = Some(now);
        self.watch.begin(now);
        self.enter(now, Phase::Fault);
        self.faults(now)
    }

    fn too_few(&self) -> Option<String> {
        let (open, ready) = (self.watch.open(), self.drill.limits.ready);
        (open < ready).then(|| format!("{open} replicas take traffic, `limits.ready` is {ready}"))
    }

    fn faults(&mut self, now: Duration) -> Vec<Order> {
        let run = now.saturating_sub(self.first.unwrap_or(now));
        let mut orders = Vec::new();
        for at in 0..self.tasks.len() {
            let (task, state) = (&self.tasks[at], self.states[at]);
            if state.over || state.pending || run < task.after {
                continue;
            }
            let ends = task.after + task.lasts.unwrap_or_default();
            let due = match (state.ordered, task.every) {
                (None, _) => true,
                (Some(last), Some(every)) => run < ends && run >= last + every,
                (Some(_), None) => false,
            };
            if due {
                if state.ordered.is_none()
                    && let Some(why) = self.too_few()
                {
                    return self.abort(now, why);
                }
                self.states[at].ordered = Some(run);
                self.states[at].pending = true;
                orders.push(Order::Inject(at));
            } else if state.ordered.is_some() && run >= ends {
                self.states[at].over = true;
                if state.active {
                    self.states[at].active = false;
                    self.removed(now, at);
                    orders.push(Order::Remove(at));
                }
            }
        }
        if self.states.iter().all(|state| state.over) {
            self.faults_over = Some(now);
            self.enter(now, Phase::Recover);
        }
        orders
    }

    fn removed(&mut self, now: Duration, task: usize) {
        let open = self.injections.iter_mut().find(|i| i.task == task && i.to.is_none());
        if let Some(injection) = open {
            injection.to = Some(now);
        }
        let of = &self.tasks[task];
        let on = of.replica.as_deref().unwrap_or("evenkeel");
        self.timeline.mark(now, MarkKind::Removed, format!("{} on {on}", of.what));
    }

    fn recover(&mut self, now: Duration) -> Vec<Order> {
        let over = self.faults_over.unwrap_or(self.since);
        let awaited =
            self.drill.expect.detected.is_some_and(|within| self.watch.may_yet_detect(now, within));
        if let Some(since) = self.watch.whole_since()
            && !awaited
            && now.saturating_sub(since.max(over)) >= STAYS
        {
            self.timeline.mark(since, MarkKind::Recovered, "all take traffic again");
            self.enter(now, Phase::After);
            return Vec::new();
        }
        // A little longer than allowed: how late it was is worth knowing.
        if now > over + self.drill.expect.recovered + STAYS {
            return self.over(now);
        }
        Vec::new()
    }

    fn after(&mut self, now: Duration) -> Vec<Order> {
        if self.watch.whole_since().is_none() {
            self.enter(now, Phase::Recover);
            return Vec::new();
        }
        match now.saturating_sub(self.since) >= self.drill.expect.after {
            true => self.over(now),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
