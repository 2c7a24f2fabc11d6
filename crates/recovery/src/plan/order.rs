//! What people order.

use super::machine::Event;
use super::{Book, Change, State, hold, moved, notice, playbook, step, words};
use evenkeel_domain::incident::{
    ALL_TARGETS, Action, Cause, Incident, Millis, Pause, Phase, Seen, Step, Verify, When,
};
use std::time::Duration;

/// Pauses that may hold at once: each has an owner who remembers it.
const PAUSES: usize = 100;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing is done about a target for a time.
    Pause(Pause),
    /// Ends the pauses of a target.
    Resume {
        /// As it was paused.
        target: String,
        /// Who.
        owner: String,
    },
    /// Goes on with an incident that waits for a person.
    Approve {
        /// The incident.
        id: String,
        /// Who.
        owner: String,
    },
    /// Does a step now, whatever the limits say.
    Force {
        /// The incident.
        id: String,
        /// Number (from 1) or name of a step.
        step: String,
        /// Who.
        owner: String,
    },
    /// Ends what the steps of an incident keep in force.
    Undo {
        /// The incident.
        id: String,
        /// Who.
        owner: String,
    },
    /// Writes down what is done beside incidents.
    Note {
        /// A word.
        kind: String,
        /// For people.
        text: String,
    },
    /// Ends the storm stop.
    ResetStorm {
        /// Who.
        owner: String,
    },
}

/// Why an order is not taken, with what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String, &'static str),
    /// Not in the present state.
    #[error("{0}")]
    Conflict(String, &'static str),
}

/// What an order leads to.
///
/// # Errors
/// [`Refusal`], with what helps.
pub fn obey(
    state: &State,
    world: &[Seen],
    book: &Book,
    order: Order,
    now: Millis,
) -> Result<Change, Refusal> {
    match order {
        Order::Pause(pause) => paused(state, world, pause, now),
        Order::Resume { target, owner } => resumed(state, &target, &owner, now),
        Order::Approve { id, owner } => approved(state, &id, &owner, now),
        Order::Force { id, step, owner } => forced(state, world, book, (&id, &step, &owner), now),
        Order::Undo { id, owner } => {
            hold::undone(incident(state, &id)?, &owner, now).ok_or_else(|| {
                let text = format!("incident {id} keeps nothing in force");
                Refusal::Conflict(text, "`evenkeel incident show ID` shows what it does")
            })
        }
        Order::Note { kind, text } => Ok(notice::beside(&kind, text, state.standing.clone(), now)),
        Order::ResetStorm { owner } => reset(state, &owner, now),
    }
}

fn paused(state: &State, world: &[Seen], pause: Pause, now: Millis) -> Result<Change, Refusal> {
    let name = &pause.target;
    let known = world.iter().any(|seen| seen.target == *name || seen.service == *name);
    if !known && name != ALL_TARGETS {
        let text = format!("there is no replica or service `{name}`");
        return Err(Refusal::NotFound(text, "`evenkeel status` lists the names"));
    }
    let mut standing = state.standing.clone();
    standing.pauses.retain(|old| old.until > now && old.target != *name);
    if standing.pauses.len() >= PAUSES {
        let text = format!("{PAUSES} pauses hold already");
        return Err(Refusal::Conflict(text, "end some with `evenkeel resume`"));
    }
    let text = format!("{name} paused by {}: {}", pause.owner, pause.why);
    standing.pauses.push(pause);
    Ok(notice::beside("pause", text, standing, now))
}

fn resumed(state: &State, target: &str, owner: &str, now: Millis) -> Result<Change, Refusal> {
    let mut standing = state.standing.clone();
    standing.pauses.retain(|old| old.until > now && old.target != target);
    if standing.pauses.len() == state.standing.pauses.len() {
        let text = format!("`{target}` is not paused");
        return Err(Refusal::NotFound(text, "`evenkeel incident list` shows what is paused"));
    }
    Ok(notice::beside("resume", format!("{target} resumed by {owner}"), standing, now))
}

fn incident<'a>(state: &'a State, id: &str) -> Result<&'a Incident, Refusal> {
    state.incidents.get(id).ok_or_else(|| {
        let text = format!("there is no open incident `{id}`");
        Refusal::NotFound(text, "`evenkeel incident list` shows those that are open")
    })
}

/// Goes on behind the question; where none was asked, begins anew with a clean count, which
/// time or a person clears.
fn approved(state: &State, id: &str, owner: &str, now: Millis) -> Result<Change, Refusal> {
    let incident = incident(state, id)?;
    let asked = matches!(incident.step(), Some(Step { action: Action::Ask { .. }, .. }));
    let text = format!("approved by {owner}");
    if incident.phase != Phase::Escalated {
        let text = format!("incident {id} is {}", incident.phase.label());
        return Err(Refusal::Conflict(text, "only what waits for a person is approved"));
    }
    let event = if incident.cause == Cause::Forecast { Event::Return } else { Event::Approve };
    let change = moved(incident, event, "approved", text, now).map_err(|illegal| {
        Refusal::Conflict(illegal.to_string(), "only what waits for a person is approved")
    })?;
    let change = change.with(|incident| {
        (incident.at, incident.tries) = if asked { (incident.at + 1, 0) } else { (0, 0) };
        incident.next = words::next(incident);
    });
    if asked {
        return Ok(change);
    }
    Ok(change.standing(state, |all| all.changes.retain(|c| c.target != incident.target)))
}

fn forced(
    state: &State,
    world: &[Seen],
    book: &Book,
    (id, step, owner): (&str, &str, &str),
    now: Millis,
) -> Result<Change, Refusal> {
    let incident = incident(state, id)?;
    let seen = world.iter().find(|seen| seen.target == incident.target).ok_or_else(|| {
        Refusal::Conflict(format!("there is no data about {}", incident.target), "try again soon")
    })?;
    let (at, step) = named(incident, seen, step, book)?;
    if !playbook::applies(needs(&step.action), incident, seen) {
        let text = format!("{} cannot be restarted from here", incident.target);
        return Err(Refusal::Conflict(text, "restart it where it runs"));
    }
    if matches!(step.action, Action::Scale { .. }) && seen.copies.is_none() {
        let text = format!("how many copies of {} run is not known", incident.service);
        return Err(Refusal::Conflict(text, "try again soon"));
    }
    let change = step::begin(state, incident, seen, step, (at, true), now).ok_or_else(|| {
        let text = format!("an incident that is {} takes no step", incident.phase.label());
        Refusal::Conflict(text, "wait until the present step has ended")
    })?;
    let mut change = change;
    change.record.entry.text.push_str(&format!(", forced by {owner}"));
    Ok(change)
}

fn needs(action: &Action) -> When {
    if matches!(action, Action::Restart { .. }) { When::Supervised } else { When::Always }
}

/// A step by number or name, of the playbook or one that needs no settings.
fn named(
    incident: &Incident,
    seen: &Seen,
    name: &str,
    book: &Book,
) -> Result<(usize, Step), Refusal> {
    let all = incident.steps.iter().cloned().enumerate();
    let number = name.parse::<usize>().ok();
    let mut found = all.filter(|(at, s)| number == Some(at + 1) || s.action.name() == name);
    if let Some(step) = found.next() {
        return Ok(step);
    }
    let action = match name {
        "restart" => Some(Action::Restart { grace: playbook::GRACE }),
        "isolate" => Some(Action::Isolate),
        "promote" => Some(Action::Promote),
        "move_streams" => Some(Action::MoveStreams),
        _ => None,
    };
    let action = action.ok_or_else(|| {
        let text = format!("there is no step `{name}` in its playbook");
        Refusal::NotFound(text, "`evenkeel incident show ID` lists its steps")
    })?;
    let verify = if action.changes() { Verify::Serves } else { Verify::None };
    let mut usual = playbook::steps(seen, incident.cause, book).into_iter();
    let timeout = usual.find(|s| s.action.name() == name).map(|s| s.timeout);
    let timeout = timeout.unwrap_or(Duration::from_secs(600));
    Ok((incident.at, Step { action, when: When::Always, timeout, verify, tries: 1 }))
}

fn reset(state: &State, owner: &str, now: Millis) -> Result<Change, Refusal> {
    if state.standing.storm.is_none() {
        let text = "there is no storm stop".to_owned();
        return Err(Refusal::Conflict(text, "`evenkeel status` shows when there is one"));
    }
    let mut standing = state.standing.clone();
    standing.storm = None;
    // A person has looked: what was changed before does not count any more.
    standing.changes.clear();
    let waiting = state.incidents.values().filter(|one| one.phase == Phase::Storm).count();
    let text = format!("storm stop ended by {owner}; {waiting} incidents go on");
    Ok(notice::beside("calm", text, standing, now))
}
