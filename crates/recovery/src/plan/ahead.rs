//! What comes next for an incident about something that has not happened yet: a limit ahead.
//!
//! ```text
//!   Confirmed ─► Acting(step) ─► Verifying ─ not ahead any more ─► Probation ─► Resolved
//!       ▲  └ not ahead any more ──────┼──────────────────────────────▲  │
//!       └──────── next step ──────────┘     ahead again ◄───────────────┘
//! ```
//! Its replica serves all the while, so nothing is isolated, and what takes something away waits
//! for a quiet time. Should the limit be reached first, it becomes an incident like any other.

use super::decide::{At, Decision, hold};
use super::limits::{humantime, ms};
use super::machine::Event;
use super::{hold as holds, moved, notice, playbook, step, words};
use evenkeel_domain::incident::{Action, Cause, ChangedBy, FOREVER, Millis, Phase, Seen, Step};

/// How long a check may take to see again what an earlier process saw: thirty looks, four a
/// minute, make a trend.
const LEARNS: Millis = 600_000;
/// How long until a restart that could not be ordered is ordered again.
const ORDERED_AGAIN: Millis = 30_000;
const NOT_YET: &str = "whether it is still ahead is not known yet";

impl At<'_> {
    /// Decides about an incident that is a forecast.
    pub(super) fn ahead(&self, seen: &Seen) -> Decision {
        if let Some(decision) = self.overtaken(seen) {
            return decision;
        }
        match self.incident.phase {
            Phase::Acting => Decision::Running,
            Phase::Confirmed => {
                self.averted(seen).or_else(|| self.stopped(seen)).unwrap_or_else(|| self.due(seen))
            }
            Phase::Verifying => self.stopped(seen).unwrap_or_else(|| self.proving(seen)),
            Phase::Probation => self.watched(seen),
            Phase::Escalated => {
                self.averted(seen).unwrap_or_else(|| hold("a person has to decide"))
            }
            Phase::Paused => self.averted(seen).unwrap_or_else(|| self.paused(seen)),
            Phase::Storm => self.averted(seen).unwrap_or_else(|| self.storm(seen)),
            Phase::Unknown => self.go(Event::Find, "found", "there is data again"),
            Phase::Suspected | Phase::Isolated | Phase::Resolved => hold("nothing is to be done"),
        }
    }

    /// It has come about: from here on it is an incident about what is, not what will be.
    fn overtaken(&self, seen: &Seen) -> Option<Decision> {
        let event = match self.incident.phase {
            Phase::Verifying | Phase::Escalated => Some(Event::Return),
            Phase::Probation => Some(Event::Relapse),
            Phase::Confirmed => None,
            // What has begun ends first, and who has paused it is heard.
            _ => return None,
        };
        let (cause, why) = notice::wrong(self.state, seen, self.now)?;
        let change = match event {
            Some(event) => moved(self.incident, event, "overtaken", why.clone(), self.now).ok()?,
            None => holds::row(self.incident.clone(), "overtaken", why.clone(), self.now),
        };
        let change = change.with(|incident| {
            (incident.at, incident.tries, incident.doing) = (0, 0, None);
            incident.steps = playbook::steps(seen, cause, self.book);
            (incident.cause, incident.why, incident.ahead) = (cause, why, None);
            incident.signs.clone_from(&seen.signs);
            (incident.ends, incident.times.mitigated) = (seen.ends, None);
            incident.next = words::next(incident);
        });
        let counted = match cause {
            Cause::Exited => change.standing(self.state, |all| {
                all.changed(&seen.target, ChangedBy::Supervisor, self.now);
            }),
            _ => change,
        };
        Some(Decision::Change(Box::new(counted)))
    }

    /// What was foreseen is not any more; or that is not known yet.
    fn averted(&self, seen: &Seen) -> Option<Decision> {
        match seen.ahead {
            Some(_) => None,
            None if self.unknown() => Some(hold(NOT_YET)),
            None => Some(self.go(Event::Recovered, "recovered", "it is not ahead any more")),
        }
    }

    /// Whether checks have only begun to look: a process begins anew with what it foresees.
    fn unknown(&self) -> bool {
        let seen_before = self.state.foreseen.contains(&self.incident.target);
        !seen_before && self.now.saturating_sub(self.state.started) < LEARNS
    }

    fn due(&self, seen: &Seen) -> Decision {
        let Some((at, step)) = self.next_step(seen) else {
            return self.go(Event::Escalate, "escalated", "no step is left, and it is still ahead");
        };
        if let Action::Ask { text } = &step.action {
            return self.asks(at, text);
        }
        if let Some(decision) = Self::left_alone(seen).filter(|_| seen.is_replica()) {
            return decision;
        }
        if let Some(why) = self.too_soon(step).or_else(|| too_busy(step, seen)) {
            return hold(why);
        }
        self.limited(step, seen).unwrap_or_else(|| self.begin(seen, step.clone(), at, false))
    }

    /// What was done is not done again before it has had its time.
    fn too_soon(&self, step: &Step) -> Option<String> {
        let last = self.incident.doing.as_ref().filter(|doing| doing.step.action == step.action)?;
        let again = self.incident.ahead.as_ref().map_or(0, |ahead| ms(ahead.again));
        // An order that did not get through has done nothing.
        let failed = step.action.restarts() && matches!(last.ended, Some(Err(_)));
        let again = if failed { again.min(ORDERED_AGAIN) } else { again };
        let until = last.began.saturating_add(again);
        let soon = step.tries == FOREVER && self.now < until;
        soon.then(|| format!("done already; again in {} s", (until - self.now).div_ceil(1000)))
    }

    fn proving(&self, seen: &Seen) -> Decision {
        let Some(doing) = &self.incident.doing else {
            return self.in_vain("what was done is not known");
        };
        let restarts = doing.step.action.restarts();
        let renewed = !restarts || (seen.incarnation != doing.incarnation && seen.serves());
        if seen.ahead.is_none() && renewed && (restarts || !self.unknown()) {
            let note = format!("{} has helped: it is not ahead any more", doing.step.action.name());
            return self.go(Event::Verified, "verified", note);
        }
        let again = self.incident.ahead.as_ref().map(|ahead| ahead.again);
        let again = again.filter(|_| doing.step.tries == FOREVER && !restarts);
        let limit = again.unwrap_or(doing.step.timeout);
        if self.now.saturating_sub(self.incident.since) >= ms(limit) {
            return self.in_vain(&format!("it is still ahead after {}", humantime(limit)));
        }
        hold(format!("{}: waiting until it is not ahead any more", doing.step.action.name()))
    }

    fn in_vain(&self, why: &str) -> Decision {
        match self.go(Event::Return, "unverified", why) {
            Decision::Change(change) => Decision::Change(Box::new(change.with(|incident| {
                if incident.doing.as_ref().is_none_or(|doing| !doing.forced) {
                    step::onward(incident, false);
                }
            }))),
            other => other,
        }
    }

    fn watched(&self, seen: &Seen) -> Decision {
        let Some(outlook) = &seen.ahead else {
            let passed = self.now.saturating_sub(self.incident.since);
            return match passed >= ms(self.book.rules.probation) {
                true => self.go(Event::Settled, "resolved", "it was not ahead since"),
                false => hold("it is not ahead any more and is watched"),
            };
        };
        let foreseen = outlook.foreseen.clone();
        match self.go(Event::Relapse, "relapsed", foreseen.text.as_str()) {
            Decision::Change(change) => Decision::Change(Box::new(change.with(|incident| {
                // What was done last stays known: it is not done again too soon.
                (incident.at, incident.tries) = (0, 0);
                incident.why.clone_from(&foreseen.text);
                incident.ahead = Some(foreseen);
                incident.times.mitigated = None;
            }))),
            other => other,
        }
    }
}

/// Why a step waits: it takes away what serves, and a quieter time may come.
fn too_busy(step: &Step, seen: &Seen) -> Option<String> {
    let waits = step.action.restarts() && seen.serves();
    let due = seen.ahead.as_ref().and_then(|outlook| outlook.due.as_ref());
    (waits && due.is_none()).then(|| "it waits for a quiet time".to_owned())
}
