//! What incidents keep in force: when it begins, what it must not be in the way of, when it
//! ends. Pure.

use super::{Change, State};
use evenkeel_domain::incident::{
    Action, Copies, Elsewhere, Entry, Hold, Holding, Incident, Millis, More, Phase, Record, Seen,
    Step,
};
use std::collections::BTreeMap;

/// What a step begins to hold, once it is written down; `None` for one that ends by itself.
pub(super) fn begun(step: &Step, key: &str, seen: &Seen, by_hand: bool) -> Option<Hold> {
    let what = match &step.action {
        Action::FailOver { to } => Holding::FailOver { to: to.clone() },
        Action::Scale { more } => {
            let copies = seen.copies.as_ref()?;
            let to = wanted(*more, copies).max(copies.size);
            Holding::Copies { from: copies.size, to }
        }
        _ => return None,
    };
    Some(Hold { key: key.to_owned(), by_hand, what })
}

/// How many copies there shall be, within what may be.
fn wanted(more: More, copies: &Copies) -> u32 {
    let wanted = match more {
        More::Add(n) => copies.size.saturating_add(n),
        More::Copies(n) => n,
    };
    wanted.min(copies.max)
}

/// Why a step would be in vain or in the way now; `None` where it makes sense.
pub(super) fn needless(
    state: &State,
    step: &Step,
    incident: &Incident,
    seen: &Seen,
    world: &[Seen],
) -> Option<String> {
    match &step.action {
        Action::FailOver { .. } => {
            if let Some(to) = failed_over(state, &incident.service) {
                return Some(format!("{to} answers already"));
            }
            let others = world.iter().filter(|o| o.service == seen.service && o.serves()).count();
            (others > 0).then(|| format!("{others} of its own service can answer"))
        }
        Action::Scale { more } => {
            if incident.copies().is_some() {
                return Some("this incident has started copies already".into());
            }
            let Some(copies) = &seen.copies else {
                return Some("how many copies run is not known yet, or fixed".into());
            };
            let (size, max) = (copies.size, copies.max);
            (wanted(*more, copies) <= size).then(|| format!("{size} copies run already, {max} may"))
        }
        _ => None,
    }
}

fn failed_over<'a>(state: &'a State, service: &str) -> Option<&'a Elsewhere> {
    let of = state.incidents.values().filter(|one| one.service == service);
    of.filter_map(Incident::fails_over_to).next()
}

/// Who answers for whom.
#[must_use]
pub fn stand_ins(state: &State) -> BTreeMap<String, Elsewhere> {
    let all = state.incidents.values();
    all.filter_map(|one| Some((one.service.clone(), one.fails_over_to()?.clone()))).collect()
}

/// A service whose own replica serves, and has no incident, needs no other to answer for it,
/// whatever becomes of the one whose incident began that. A person's order stays.
pub(super) fn over(state: &State, world: &[Seen], now: Millis) -> Option<Change> {
    state.incidents.values().find_map(|incident| {
        let ours = |hold: &&Hold| !hold.by_hand && matches!(hold.what, Holding::FailOver { .. });
        let hold = incident.holds.iter().find(ours).filter(|_| incident.phase != Phase::Acting)?;
        let clean = world.iter().find(|seen| {
            seen.service == incident.service && seen.serves() && state.of(&seen.target).is_none()
        })?;
        let text = format!("{} serves: its service answers by itself again", clean.target);
        let key = hold.key.clone();
        Some(without(incident, "fail_back", text, now, |hold| hold.key != key))
    })
}

/// A person ends all that an incident holds.
pub(super) fn undone(incident: &Incident, owner: &str, now: Millis) -> Option<Change> {
    let held: Vec<String> = incident.holds.iter().map(|hold| hold.what.text()).collect();
    if held.is_empty() {
        return None;
    }
    let text = format!("undone by {owner}: {}", held.join("; "));
    Some(without(incident, "undone", text, now, |_| false))
}

/// The incident where it is, with less that holds.
fn without(
    incident: &Incident,
    kind: &str,
    text: String,
    now: Millis,
    stays: impl Fn(&Hold) -> bool,
) -> Change {
    let mut after = incident.clone();
    after.holds.retain(stays);
    row(after, kind, text, now)
}

/// A row that leaves an incident where it was.
pub(super) fn row(after: Incident, kind: &str, text: String, now: Millis) -> Change {
    let from = after.phase;
    let entry = Entry { at: now, incident: Some(after.id.clone()), kind: kind.into(), text };
    Change {
        record: Record { entry, incident: Some(after), standing: None },
        act: false,
        release: false,
        from,
    }
}
