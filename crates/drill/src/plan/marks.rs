//! The timeline of a drill.

use serde::Serialize;
use std::time::Duration;

/// The most marks that are kept: what flaps for an hour is seen from the first thousands.
const MOST: usize = 2_000;

/// What a mark stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Another phase of the drill.
    Phase,
    /// A fault was put in place.
    Fault,
    /// A fault was removed.
    Removed,
    /// It is known to Evenkeel.
    Detected,
    /// All take traffic again.
    Recovered,
    /// Something that Evenkeel told.
    Event,
    /// The drill was broken off.
    Aborted,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Since the load began, in milliseconds.
    pub at_ms: u64,
    /// What kind.
    pub kind: MarkKind,
    /// For people.
    pub text: String,
}

/// From when on a replica was in a state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    /// The replica, or `gateway`.
    pub name: String,
    /// (since the load began in milliseconds, state), in order.
    pub states: Vec<(u64, String)>,
}

/// Marks and lanes as they come.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    pub(crate) marks: Vec<Mark>,
    pub(crate) lanes: Vec<Lane>,
}

impl Timeline {
    pub(crate) fn mark(&mut self, at: Duration, kind: MarkKind, text: impl Into<String>) {
        if self.marks.len() < MOST {
            self.marks.push(Mark { at_ms: millis(at), kind, text: text.into() });
        }
    }

    /// A replica is in this state.
    pub(crate) fn state(&mut self, at: Duration, name: &str, state: &str) {
        let at_ms = millis(at);
        match self.lanes.iter_mut().find(|lane| lane.name == name) {
            None => self
                .lanes
                .push(Lane { name: name.to_owned(), states: vec![(at_ms, state.to_owned())] }),
            Some(lane) => {
                let last = lane.states.last().map(|(_, state)| state.as_str());
                if last != Some(state) && lane.states.len() < MOST {
                    lane.states.push((at_ms, state.to_owned()));
                }
            }
        }
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
