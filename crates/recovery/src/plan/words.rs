//! What people read: what to do next, and what would be done.

use super::limits::{self, Limit};
use super::{Book, Decision, State, decide, hold, playbook};
use crate::action;
use evenkeel_domain::incident::{
    Action, Cause, FOREVER, Incident, Millis, Phase, Seen, Step, Times,
};

/// What a person can do about an incident; empty for nothing.
#[must_use]
pub(super) fn next(incident: &Incident) -> String {
    let (id, target) = (&incident.id, &incident.target);
    match incident.phase {
        Phase::Escalated => match incident.step() {
            Some(Step { action: Action::Ask { .. }, .. }) => {
                format!("approve it with `evenkeel incident approve {id}`")
            }
            _ => format!(
                "{}; then `evenkeel incident approve {id}` begins anew",
                advice(incident.cause, target)
            ),
        },
        Phase::Storm => {
            "find out what they have in common, then `evenkeel incident reset-storm`".into()
        }
        Phase::Paused => format!("`evenkeel resume {target}` (or what was paused) goes on"),
        _ => String::new(),
    }
}

fn advice(cause: Cause, target: &str) -> String {
    match cause {
        Cause::Exited => format!("read why it ends: `evenkeel logs {target}`"),
        Cause::Refusing => format!("see whether {target} runs and listens where it should"),
        Cause::Hung => format!("see what {target} does on its host (GPU, driver, disk)"),
        Cause::Lying => format!("compare model and settings of {target} with its peers"),
        Cause::Absent => format!("see whether {target} runs where the configuration says"),
        Cause::Forecast => format!("see to what {target} will run out of"),
        Cause::Failing => format!("read the errors of {target} on its host"),
    }
}

/// What would be done about a target now: the dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its open incident, if any.
    pub incident: Option<String>,
    /// What comes next, and why.
    pub next: String,
    /// The steps that are left.
    pub steps: Vec<Planned>,
}

/// One step that would follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is done.
    pub what: String,
    /// Whether it would be, or why not.
    pub verdict: String,
    /// What it touches beside the replica that is out of traffic anyway.
    pub touches: &'static str,
    /// How it is undone; empty for what cannot be.
    pub undo: &'static str,
}

/// The dry run for a target. Changes nothing.
#[must_use]
pub fn preview(state: &State, seen: &Seen, world: &[Seen], book: &Book, now: Millis) -> Preview {
    let known = state.of(&seen.target);
    let incident = known.cloned().unwrap_or_else(|| hypothetical(seen, book, now));
    let next = match known.map(|one| decide(state, one, world, book, now)) {
        None => {
            "nothing: it has no incident; were it isolated now, these steps would follow".into()
        }
        Some(Decision::Running) => "a step is being done".into(),
        Some(Decision::Hold(why)) => format!("nothing now: {why}"),
        Some(Decision::Change(change)) => {
            format!("{}: {}", change.record.entry.kind, change.record.entry.text)
        }
    };
    let fleet = state.fleet(&seen.target, &seen.service, world);
    let limit = limits::check(&seen.target, &state.standing, fleet, &book.rules, now);
    let steps = incident.steps.iter().skip(incident.at).map(|step| {
        let verdict = match &limit {
            _ if !playbook::applies(step.when, &incident, seen) => {
                format!("passed over: it is not {}", step.when.label())
            }
            _ if let Some(why) = hold::needless(state, step, &incident, seen, world) => {
                format!("passed over: {why}")
            }
            Some(Limit::Wait(why)) if step.action.changes() => format!("would wait: {why}"),
            Some(Limit::Escalate(why)) if step.action.changes() => {
                format!("would call a person: {why}")
            }
            Some(Limit::Storm(why)) if step.action.changes() => {
                format!("would stop everything: {why}")
            }
            _ if !book.rules.act => "not done: recovery.act is false".into(),
            _ if step.tries == FOREVER => {
                let every = incident.ahead.as_ref().map_or(step.timeout, |ahead| ahead.again);
                format!("every {} while it is foreseen", limits::humantime(every))
            }
            _ => format!("up to {} times within {}", step.tries, limits::humantime(step.timeout)),
        };
        let action = action::find(step.action.name());
        Planned {
            what: playbook::describe(step),
            verdict,
            touches: action.map_or("", |action| action.blast().text()),
            undo: action.and_then(|action| action.undo()).unwrap_or_default(),
        }
    });
    Preview { incident: known.map(|one| one.id.clone()), next, steps: steps.collect() }
}

/// The incident that a replica would have if what stands against it now isolated it.
fn hypothetical(seen: &Seen, book: &Book, now: Millis) -> Incident {
    let none = seen.evidence.by.is_empty();
    let cause = if none { Cause::Hung } else { Cause::of(&seen.evidence.by) };
    Incident {
        id: String::new(),
        target: seen.target.clone(),
        service: seen.service.clone(),
        phase: Phase::Isolated,
        back: None,
        since: now,
        cause,
        why: seen.why.clone(),
        signs: seen.signs.clone(),
        times: Times { onset: now, ..Times::default() },
        steps: playbook::steps(seen, cause, book),
        at: 0,
        tries: 0,
        done: 0,
        doing: None,
        ends: seen.ends,
        note: String::new(),
        next: String::new(),
        holds: Vec::new(),
        ahead: None,
    }
}
