//! What is noticed about the world: suspicions, new incidents, storms.

use super::machine::Event;
use super::{Book, Change, State, limits, moved, playbook, words};
use evenkeel_domain::health::Against;
use evenkeel_domain::incident::{
    Cause, ChangedBy, Entry, Incident, Millis, Phase, Record, Seen, Standing, Storm, Times,
};
use evenkeel_domain::{Gate, Health, orchestrator};
use std::collections::BTreeMap;

/// The kind of an incident's first row.
pub(super) const OPENED: &str = "confirmed";
/// A replica that the keeper knows as ready is probed by a new gateway for so long before its
/// silence counts.
pub(super) const SETTLE: Millis = 10_000;

/// Keeps the times of first signs.
pub(super) fn suspects(all: &mut BTreeMap<String, Millis>, world: &[Seen], now: Millis) {
    let suspect = |target: &str| {
        world.iter().any(|seen| {
            let against = seen.evidence.against != Against::Nothing;
            seen.target == target && against && seen.health != Health::Starting
        })
    };
    all.retain(|target, _| suspect(target));
    for seen in world.iter().filter(|seen| suspect(&seen.target)) {
        all.entry(seen.target.clone()).or_insert(now);
    }
}

/// The first replica that needs an incident and has none.
pub(super) fn opened(state: &State, world: &[Seen], book: &Book, now: Millis) -> Option<Change> {
    world.iter().filter(|seen| state.of(&seen.target).is_none()).find_map(|seen| {
        let (cause, why) = wrong(state, seen, now).or_else(|| foreseen(seen, book))?;
        Some(open(state, seen, cause, why, book, now))
    })
}

/// A limit ahead, where something is to be done about it; else people are only told.
fn foreseen(seen: &Seen, book: &Book) -> Option<(Cause, String)> {
    let outlook = seen.ahead.as_ref().filter(|_| !seen.left_alone() || !seen.is_replica())?;
    let acts = !playbook::steps(seen, Cause::Forecast, book).is_empty();
    acts.then(|| (Cause::Forecast, outlook.foreseen.text.clone()))
}

/// What is wrong with a replica, once it is certain enough to act upon.
pub(super) fn wrong(state: &State, seen: &Seen, now: Millis) -> Option<(Cause, String)> {
    if seen.left_alone() || !seen.is_replica() {
        return None;
    }
    if ended_between(state, seen) {
        let how = seen.last_exit.clone().unwrap_or_else(|| "its process ended".into());
        return Some((Cause::Exited, format!("exit: {how}; the supervisor starts it again")));
    }
    let enough = seen.evidence.against >= Against::Enough;
    // The keeper knows it as ready, so it is not loading: a new gateway finds it silent.
    let was_ready = seen.process == Some(orchestrator::Phase::Ready);
    let silent = seen.health == Health::Starting
        && was_ready
        && now.saturating_sub(state.started) > SETTLE
        && seen.evidence.against != Against::Nothing;
    if silent {
        return Some((Cause::Hung, format!("it was ready, and answers no more ({})", seen.why)));
    }
    let judged = enough && seen.health != Health::Starting;
    judged.then(|| (Cause::of(&seen.evidence.by), seen.why.clone()))
}

/// Whether its process ended since the last look, and nobody had asked for it.
fn ended_between(state: &State, seen: &Seen) -> bool {
    let known = state.known.get(&seen.target);
    known.is_some_and(|known| !known.left_alone && seen.ends > known.ends)
}

fn open(state: &State, seen: &Seen, cause: Cause, why: String, book: &Book, now: Millis) -> Change {
    let onset = state.suspects.get(&seen.target).copied().unwrap_or(now);
    let incident = Incident {
        id: format!("{}-{}", state.epoch, state.begun + 1),
        target: seen.target.clone(),
        service: seen.service.clone(),
        phase: Phase::Suspected,
        back: None,
        since: onset,
        cause,
        why: why.clone(),
        signs: seen.signs.clone(),
        times: Times { onset, ..Times::default() },
        steps: playbook::steps(seen, cause, book),
        at: 0,
        tries: 0,
        done: 0,
        doing: None,
        ends: seen.ends,
        note: String::new(),
        next: String::new(),
        holds: Vec::new(),
        ahead: seen
            .ahead
            .as_ref()
            .filter(|_| cause == Cause::Forecast)
            .map(|outlook| outlook.foreseen.clone()),
    };
    // The health authority acts by itself: it may be out of traffic already.
    let out = cause != Cause::Forecast && matches!(seen.gate, Gate::Shut | Gate::Desperate);
    let restarted = cause == Cause::Exited && ended_between(state, seen);
    let change = match moved(&incident, Event::Confirm, OPENED, why, now) {
        Ok(change) => change,
        Err(_) => unreachable!("what is suspected can be confirmed: a row of the table"),
    };
    let change = change.with(|incident| {
        incident.times.isolated = out.then_some(now);
        incident.next = words::next(incident);
    });
    if restarted {
        let target = seen.target.clone();
        return change.standing(state, |all| all.changed(&target, ChangedBy::Supervisor, now));
    }
    change
}

/// The storm stop, where it is due.
pub(super) fn storm(state: &State, world: &[Seen], book: &Book, now: Millis) -> Option<Change> {
    if state.standing.storm.is_some() {
        return None;
    }
    let replicas = world.iter().filter(|seen| seen.is_replica()).count();
    let why = limits::storm(&state.standing, None, replicas, &book.rules, now)?;
    Some(stop(state, why, now))
}

/// Stops everything.
pub(super) fn stop(state: &State, why: String, now: Millis) -> Change {
    let storm = Some(Storm { since: now, why: why.clone() });
    let standing = Standing { storm, ..state.standing.clone() };
    beside("storm", why, standing, now)
}

/// A change that is about no incident.
pub(super) fn beside(kind: &str, text: String, standing: Standing, now: Millis) -> Change {
    let entry = Entry { at: now, incident: None, kind: kind.into(), text };
    Change {
        record: Record { entry, incident: None, standing: Some(standing) },
        act: false,
        release: false,
        from: Phase::Resolved,
    }
}
