//! What comes next for one incident.

use super::limits::{self, Limit, ms};
use super::machine::Event;
use super::step::{self, onward};
use super::{Book, Change, State, hold as holds, moved, notice, playbook, words};
use evenkeel_domain::health::Against;
use evenkeel_domain::incident::{
    Action, Cause, ChangedBy, Entry, Incident, Millis, Phase, Record, Seen, Step, Verify,
};
use evenkeel_domain::{Gate, Health, orchestrator};
use std::time::Duration;

/// How long a replica may be missing before it counts as gone: names are resolved and
/// processes reported within seconds.
const MISSING: Millis = 60_000;
/// How long taking a replica out of traffic may take.
const ISOLATES: Duration = Duration::from_secs(10);

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This.
    Change(Box<Change>),
    /// Nothing now, and why.
    Hold(String),
    /// A step is being done.
    Running,
}

pub(super) fn hold(why: impl Into<String>) -> Decision {
    Decision::Hold(why.into())
}

/// Decides about one incident.
#[must_use]
pub fn decide(
    state: &State,
    incident: &Incident,
    world: &[Seen],
    book: &Book,
    now: Millis,
) -> Decision {
    let at = At { state, incident, world, book, now };
    let Some(seen) = world.iter().find(|seen| seen.target == incident.target) else {
        return at.missing();
    };
    if incident.cause == Cause::Forecast {
        return at.ahead(seen);
    }
    match incident.phase {
        Phase::Suspected | Phase::Resolved => hold("nothing is to be done"),
        Phase::Acting => Decision::Running,
        Phase::Confirmed => at.may(seen).unwrap_or_else(|| at.confirmed(seen)),
        Phase::Isolated => at.may(seen).unwrap_or_else(|| at.isolated(seen)),
        Phase::Verifying => at.may(seen).unwrap_or_else(|| at.verifying(seen)),
        Phase::Probation => at.probation(seen),
        Phase::Escalated => at.back(seen).unwrap_or_else(|| hold("a person has to decide")),
        Phase::Paused => at.paused(seen),
        Phase::Storm => at.storm(seen),
        Phase::Unknown => at.go(Event::Find, "found", "there is data again"),
    }
}

/// One incident at one moment.
pub(super) struct At<'a> {
    pub(super) state: &'a State,
    pub(super) incident: &'a Incident,
    pub(super) world: &'a [Seen],
    pub(super) book: &'a Book,
    pub(super) now: Millis,
}

impl At<'_> {
    pub(super) fn go(&self, event: Event, kind: &str, note: impl Into<String>) -> Decision {
        match moved(self.incident, event, kind, note.into(), self.now) {
            Ok(change) => {
                let change = change.with(|incident| incident.next = words::next(incident));
                Decision::Change(Box::new(change))
            }
            // The table is what counts: what it does not know is not done.
            Err(illegal) => hold(illegal.to_string()),
        }
    }

    /// Without data nothing is done; what stays away for long is gone.
    fn missing(&self) -> Decision {
        let since = self.incident.since.max(self.state.started);
        let long = self.now.saturating_sub(since) > MISSING;
        match self.incident.phase {
            Phase::Acting => Decision::Running,
            Phase::Unknown | Phase::Escalated | Phase::Paused | Phase::Storm if long => {
                self.go(Event::Gone, "gone", "it is not configured any more")
            }
            Phase::Confirmed | Phase::Isolated | Phase::Verifying | Phase::Probation => {
                self.go(Event::Lose, "lost", "there is no data about it: nothing is done")
            }
            _ => hold("there is no data about it"),
        }
    }

    /// What goes before everything that is done: counting, storm, pause.
    fn may(&self, seen: &Seen) -> Option<Decision> {
        self.counted(seen).or_else(|| self.stopped(seen))
    }

    /// A storm stop, or a pause.
    pub(super) fn stopped(&self, seen: &Seen) -> Option<Decision> {
        let standing = &self.state.standing;
        // Another that takes over changes nothing that runs: a storm is when it is needed.
        let next = self.next_step(seen).map(|(_, step)| &step.action);
        let adds = matches!(next, Some(Action::Promote | Action::FailOver { .. }));
        if let Some(storm) = standing.storm.as_ref().filter(|_| !adds) {
            return Some(self.go(Event::Halt, "storm", storm.why.clone()));
        }
        let pause = standing.pause(self.incident, self.now)?;
        let note = format!("paused by {}: {}", pause.owner, pause.why);
        Some(self.go(Event::Pause, "paused", note))
    }

    /// What ends is started again by the supervisor: that counts, and is not repeated.
    fn counted(&self, seen: &Seen) -> Option<Decision> {
        if seen.ends == self.incident.ends {
            return None;
        }
        let mut after = self.incident.clone();
        after.ends = seen.ends;
        let how = seen.last_exit.as_deref().unwrap_or("it ended");
        // A keeper that began anew counts anew.
        let ended = seen.ends > self.incident.ends;
        let text = if ended {
            format!("the supervisor starts it again ({how})")
        } else {
            "Evenkeel was started anew, and its processes with it".into()
        };
        let id = Some(after.id.clone());
        let entry = Entry { at: self.now, incident: id, kind: "counted".into(), text };
        let change = Change {
            record: Record { entry, incident: Some(after), standing: None },
            act: false,
            release: false,
            from: self.incident.phase,
        };
        let change = change.standing(self.state, |all| {
            if ended {
                all.changed(&seen.target, ChangedBy::Supervisor, self.now);
            }
        });
        Some(Decision::Change(Box::new(change)))
    }

    fn back(&self, seen: &Seen) -> Option<Decision> {
        // Who was never out does not come back.
        let out = self.incident.cause != Cause::Forecast;
        let back = || self.go(Event::Recovered, "recovered", "it serves again by itself");
        (out && seen.serves()).then(back)
    }

    /// What a person has ordered goes before what is measured.
    pub(super) fn left_alone(seen: &Seen) -> Option<Decision> {
        seen.left_alone().then(|| hold(format!("left alone: {}", seen.why)))
    }

    fn confirmed(&self, seen: &Seen) -> Decision {
        if let Some(decision) = self.back(seen).or_else(|| Self::left_alone(seen)) {
            return decision;
        }
        if matches!(seen.gate, Gate::Shut | Gate::Desperate) {
            return self.go(Event::Shut, "isolated", format!("out of traffic: {}", seen.why));
        }
        if seen.evidence.against < Against::Enough {
            return hold("one signal is left: it is watched");
        }
        let fleet = self.state.fleet(&seen.target, &seen.service, self.world);
        if fleet.others_open < self.book.rules.floor as usize {
            let note = "left in traffic as a last resort: too few others serve";
            return self.go(Event::Shut, "isolated", note);
        }
        let step = Step {
            action: Action::Isolate,
            when: Default::default(),
            timeout: ISOLATES,
            verify: Verify::None,
            tries: 1,
        };
        self.begin(seen, step, self.incident.at, true)
    }

    fn isolated(&self, seen: &Seen) -> Decision {
        if let Some(decision) = self.back(seen).or_else(|| Self::left_alone(seen)) {
            return decision;
        }
        let next = self.next_step(seen);
        if let Some(starting) = self.starting(seen, next.map(|(_, step)| step)) {
            return starting;
        }
        let Some((at, step)) = next else {
            return self.go(Event::Escalate, "escalated", self.exhausted(seen));
        };
        if let Action::Ask { text } = &step.action {
            return self.asks(at, text);
        }
        if let Some(limited) = self.limited(step, seen) {
            return limited;
        }
        self.begin(seen, step.clone(), at, false)
    }

    /// Waits for a person at a step.
    pub(super) fn asks(&self, at: usize, text: &str) -> Decision {
        match self.go(Event::Escalate, "asked", format!("a person is asked: {text}")) {
            Decision::Change(change) => {
                Decision::Change(Box::new(change.with(|incident| incident.at = at)))
            }
            other => other,
        }
    }

    /// What a limit makes of a step that changes a replica.
    pub(super) fn limited(&self, step: &Step, seen: &Seen) -> Option<Decision> {
        if !step.action.changes() || !seen.is_replica() {
            return None;
        }
        let fleet = self.state.fleet(&seen.target, &seen.service, self.world);
        let rules = &self.book.rules;
        match limits::check(&seen.target, &self.state.standing, fleet, rules, self.now)? {
            Limit::Wait(why) => Some(hold(why)),
            Limit::Escalate(why) => Some(self.go(Event::Escalate, "escalated", why)),
            Limit::Storm(why) => {
                Some(Decision::Change(Box::new(notice::stop(self.state, why, self.now))))
            }
        }
    }

    /// A process that starts is not disturbed, nor is one that a new gateway has only begun to
    /// look at.
    fn starting(&self, seen: &Seen, next: Option<&Step>) -> Option<Decision> {
        if seen.health != Health::Starting {
            return None;
        }
        // The next step may be to wait for just that, which has a time of its own.
        let waits = matches!(next, Some(Step { action: Action::Wait, .. }));
        if !waits && matches!(seen.process, Some(orchestrator::Phase::Starting { .. })) {
            return Some(hold("its process is starting"));
        }
        let fresh = self.now.saturating_sub(self.state.started) < notice::SETTLE;
        (!waits && fresh).then(|| hold("there is too little data yet"))
    }

    /// The next step whose condition holds and that makes sense, with its number.
    pub(super) fn next_step(&self, seen: &Seen) -> Option<(usize, &Step)> {
        let mut steps = self.incident.steps.iter().enumerate().skip(self.incident.at);
        steps.find(|(_, step)| {
            playbook::applies(step.when, self.incident, seen) && self.needless(step, seen).is_none()
        })
    }

    fn needless(&self, step: &Step, seen: &Seen) -> Option<String> {
        holds::needless(self.state, step, self.incident, seen, self.world)
    }

    fn exhausted(&self, seen: &Seen) -> String {
        match &seen.process {
            Some(orchestrator::Phase::Failed { message, .. }) => message.clone(),
            Some(orchestrator::Phase::CrashLoop { .. }) => {
                let how = seen.last_exit.as_deref().unwrap_or("it ends");
                format!("it ends again and again ({how}); the supervisor goes on trying")
            }
            _ if self.incident.cause == Cause::Absent => {
                "it has never answered, and nothing here can start it".into()
            }
            _ => "no step is left".into(),
        }
    }

    pub(super) fn begin(&self, seen: &Seen, step: Step, at: usize, forced: bool) -> Decision {
        if !self.book.rules.act {
            let would = playbook::describe(&step);
            return hold(format!("recovery.act is false; it would {would}"));
        }
        step::begin(self.state, self.incident, seen, step, (at, forced), self.now).map_or_else(
            || hold("the step cannot begin"),
            |change| Decision::Change(Box::new(change)),
        )
    }

    fn verifying(&self, seen: &Seen) -> Decision {
        let Some(doing) = &self.incident.doing else {
            return self.unverified("what was done is not known");
        };
        let restarts = doing.step.action.restarts();
        let renewed = !restarts || seen.incarnation != doing.incarnation;
        if seen.serves() && renewed {
            let note = format!("{} has helped: it serves", doing.step.action.name());
            return self.go(Event::Verified, "verified", note);
        }
        if let Some(decision) = Self::left_alone(seen) {
            return decision;
        }
        let passed = self.now.saturating_sub(self.incident.since);
        if passed >= ms(doing.step.timeout) {
            let time = limits::humantime(doing.step.timeout);
            return self.unverified(&format!("it does not serve after {time}: {}", seen.why));
        }
        let gave_up = matches!(
            seen.process,
            Some(orchestrator::Phase::CrashLoop { .. } | orchestrator::Phase::Failed { .. })
        );
        if gave_up || (restarts && renewed && seen.health == Health::Isolated) {
            return self.unverified(&format!("it has failed again: {}", seen.why));
        }
        hold(format!("{}: waiting until it serves", doing.step.action.name()))
    }

    fn unverified(&self, why: &str) -> Decision {
        match self.go(Event::Unverified, "unverified", why) {
            Decision::Change(change) => Decision::Change(Box::new(change.with(|incident| {
                if incident.doing.as_ref().is_none_or(|doing| !doing.forced) {
                    onward(incident, false);
                }
            }))),
            other => other,
        }
    }

    fn probation(&self, seen: &Seen) -> Decision {
        let ended = seen.ends > self.incident.ends;
        let wrong = notice::wrong(self.state, seen, self.now).filter(|_| !seen.serves());
        let exit = || {
            let how = seen.last_exit.as_deref().unwrap_or("its process ended");
            (Cause::Exited, format!("exit: {how}"))
        };
        let wrong = if ended && !seen.left_alone() { Some(exit()) } else { wrong };
        if let Some((cause, why)) = wrong {
            return match self.go(Event::Relapse, "relapsed", why.clone()) {
                Decision::Change(change) => Decision::Change(Box::new(change.with(|incident| {
                    (incident.at, incident.tries, incident.doing) = (0, 0, None);
                    (incident.cause, incident.why) = (cause, why);
                    incident.signs.clone_from(&seen.signs);
                    incident.times.mitigated = None;
                }))),
                other => other,
            };
        }
        let served = self.now.saturating_sub(self.incident.since);
        if seen.serves() && served >= ms(self.book.rules.probation) {
            return self.go(Event::Settled, "resolved", "it has served since");
        }
        hold("it serves again and is watched")
    }

    pub(super) fn paused(&self, seen: &Seen) -> Decision {
        if let Some(decision) = self.back(seen) {
            return decision;
        }
        match self.state.standing.pause(self.incident, self.now) {
            None => self.go(Event::Resume, "resumed", "the pause is over"),
            Some(pause) => hold(format!("paused by {}: {}", pause.owner, pause.why)),
        }
    }

    pub(super) fn storm(&self, seen: &Seen) -> Decision {
        if let Some(decision) = self.back(seen) {
            return decision;
        }
        match &self.state.standing.storm {
            None => self.go(Event::Calm, "calm", "a person has ended the storm stop"),
            Some(storm) => hold(format!("everything is stopped: {}", storm.why)),
        }
    }
}
