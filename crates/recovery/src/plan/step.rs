//! How a step begins, how it ends, and what becomes of one that nobody ended.

use super::machine::Event;
use super::{Change, State, hold, moved, notice, playbook, words};
use evenkeel_domain::Health;
use evenkeel_domain::incident::{Cause, ChangedBy, Doing, Incident, Millis, Seen, Step, Verify};

/// What becomes of a step that an earlier process began and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// There is too little data to say.
    Later,
    /// It has come true, or is not needed any more.
    Done(&'static str),
    /// It is done again, under its key.
    Again,
}

/// Looks at the world before anything is repeated; `is_done` is what the action says of it.
#[must_use]
pub fn resume(
    state: &State,
    incident: &Incident,
    step: &Step,
    (seen, is_done): (&Seen, bool),
    now: Millis,
) -> Resume {
    if is_done {
        return Resume::Done("found done after a restart of Evenkeel");
    }
    // What is foreseen is about one that serves.
    let needless = seen.serves() && incident.cause != Cause::Forecast;
    if needless && step.action.changes() {
        return Resume::Done("not repeated after a restart of Evenkeel: it serves");
    }
    // A new gateway has only begun to look: it may serve.
    let fresh = now.saturating_sub(state.started) < notice::SETTLE;
    if fresh && seen.health == Health::Starting { Resume::Later } else { Resume::Again }
}

/// What an action's end leads to.
#[must_use]
pub fn ended(incident: &Incident, result: &Result<String, String>, now: Millis) -> Option<Change> {
    let doing = incident.doing.as_ref()?;
    let (event, text) = match (result, doing.step.verify) {
        (Ok(text), Verify::Serves) => (Event::Done, text),
        (Ok(text), Verify::None) => (Event::Passed, text),
        (Err(text), _) => (Event::Failed, text),
    };
    let to = match incident.cause {
        Cause::Forecast if event != Event::Done => Event::Return,
        _ => event,
    };
    let name = doing.step.action.name();
    let text = match result {
        Ok(_) => format!("{name}: {text}"),
        Err(_) => format!("{name} failed: {text}"),
    };
    let change = moved(incident, to, "end", text, now).ok()?;
    Some(change.with(|incident| {
        let Some(doing) = &mut incident.doing else { return };
        doing.ended = Some(result.clone());
        let (forced, key) = (doing.forced, doing.key.clone());
        match event {
            Event::Passed if !forced => onward(incident, true),
            Event::Failed if !forced => onward(incident, false),
            _ => {}
        }
        if event == Event::Failed {
            incident.holds.retain(|hold| hold.key != key);
        }
        incident.next = words::next(incident);
    }))
}

/// The step is over: it is tried again where it may be, or the next one follows.
pub(super) fn onward(incident: &mut Incident, good: bool) {
    incident.tries += 1;
    let tries = incident.step().map_or(1, |step| step.tries);
    if good || incident.tries >= tries {
        (incident.at, incident.tries) = (incident.at + 1, 0);
    }
}

/// A step begins.
pub(super) fn begin(
    state: &State,
    incident: &Incident,
    seen: &Seen,
    step: Step,
    (at, forced): (usize, bool),
    now: Millis,
) -> Option<Change> {
    let name = step.action.name();
    let key = format!("{}/{at}-{name}/{}@{}", incident.id, incident.done, state.epoch);
    let changes = step.action.changes();
    let text = format!("{} (key {key})", playbook::describe(&step));
    let change = moved(incident, Event::Begin, "begin", text, now).ok()?.with(|incident| {
        if at != incident.at && !forced {
            (incident.at, incident.tries) = (at, 0);
        }
        incident.done += 1;
        incident.holds.extend(hold::begun(&step, &key, seen, forced));
        let incarnation = seen.incarnation;
        incident.doing = Some(Doing { key, step, began: now, incarnation, forced, ended: None });
    });
    let change = Change { act: true, ..change };
    if !changes || !seen.is_replica() {
        return Some(change);
    }
    Some(change.standing(state, |all| all.changed(&seen.target, ChangedBy::Recovery, now)))
}
