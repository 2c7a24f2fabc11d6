//! The state machine of an incident, as a table. Pure.
//!
//! What is not in the table cannot happen: [`next`] answers it with [`Illegal`].

use evenkeel_domain::incident::Phase;

/// What can happen to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Two independent signals, or a definite one.
    Confirm,
    /// What was suspected is not so.
    Clear,
    /// Nothing new reaches it any more.
    Shut,
    /// A step begins.
    Begin,
    /// The step was done; now it is verified.
    Done,
    /// The step was done, and nothing is to be verified.
    Passed,
    /// The step could not be done.
    Failed,
    /// The step is over and nothing is out of traffic: what comes next is looked for.
    Return,
    /// It serves again: what was done has helped.
    Verified,
    /// It does not.
    Unverified,
    /// It serves again, by itself.
    Recovered,
    /// It has served for long enough.
    Settled,
    /// It fails again.
    Relapse,
    /// No step is left, a limit is reached, or a person is asked.
    Escalate,
    /// A person says: go on.
    Approve,
    /// A person wants nothing done.
    Pause,
    /// The pause is over.
    Resume,
    /// Too much was changed.
    Halt,
    /// A person ended the storm stop.
    Calm,
    /// There is no data.
    Lose,
    /// There is data again.
    Find,
    /// The replica is not configured any more.
    Gone,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Confirm,
        Self::Clear,
        Self::Shut,
        Self::Begin,
        Self::Done,
        Self::Passed,
        Self::Failed,
        Self::Return,
        Self::Verified,
        Self::Unverified,
        Self::Recovered,
        Self::Settled,
        Self::Relapse,
        Self::Escalate,
        Self::Approve,
        Self::Pause,
        Self::Resume,
        Self::Halt,
        Self::Calm,
        Self::Lose,
        Self::Find,
        Self::Gone,
    ];
}

/// Where an event leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// There.
    Phase(Phase),
    /// There, and back again by the event that ends the side state.
    Side(Phase),
    /// To where it came from.
    Back,
}

/// An event that cannot happen in a phase. A fault in this program, or a person's order that
/// comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an incident that is {} takes no {event:?}", phase.label())]
pub struct Illegal {
    /// Where the incident is.
    pub phase: Phase,
    /// What should have happened.
    pub event: Event,
}

use Event as E;
use Phase as P;
use To::{Back, Phase as Go, Side};

const TABLE: &[(Phase, Event, To)] = &[
    (P::Suspected, E::Confirm, Go(P::Confirmed)),
    (P::Suspected, E::Clear, Go(P::Resolved)),
    (P::Suspected, E::Gone, Go(P::Resolved)),
    (P::Confirmed, E::Shut, Go(P::Isolated)),
    (P::Confirmed, E::Begin, Go(P::Acting)),
    (P::Confirmed, E::Recovered, Go(P::Probation)),
    (P::Confirmed, E::Escalate, Go(P::Escalated)),
    (P::Confirmed, E::Pause, Side(P::Paused)),
    (P::Confirmed, E::Halt, Side(P::Storm)),
    (P::Confirmed, E::Lose, Side(P::Unknown)),
    (P::Confirmed, E::Gone, Go(P::Resolved)),
    (P::Isolated, E::Begin, Go(P::Acting)),
    (P::Isolated, E::Recovered, Go(P::Probation)),
    (P::Isolated, E::Escalate, Go(P::Escalated)),
    (P::Isolated, E::Pause, Side(P::Paused)),
    (P::Isolated, E::Halt, Side(P::Storm)),
    (P::Isolated, E::Lose, Side(P::Unknown)),
    (P::Isolated, E::Gone, Go(P::Resolved)),
    // What has begun is ended before anything else is heard: nobody else knows its result.
    (P::Acting, E::Done, Go(P::Verifying)),
    (P::Acting, E::Passed, Go(P::Isolated)),
    (P::Acting, E::Failed, Go(P::Isolated)),
    (P::Acting, E::Return, Go(P::Confirmed)),
    (P::Verifying, E::Return, Go(P::Confirmed)),
    (P::Escalated, E::Return, Go(P::Confirmed)),
    (P::Verifying, E::Verified, Go(P::Probation)),
    (P::Verifying, E::Unverified, Go(P::Isolated)),
    (P::Verifying, E::Pause, Side(P::Paused)),
    (P::Verifying, E::Halt, Side(P::Storm)),
    (P::Verifying, E::Lose, Side(P::Unknown)),
    (P::Verifying, E::Gone, Go(P::Resolved)),
    (P::Probation, E::Relapse, Go(P::Confirmed)),
    (P::Probation, E::Settled, Go(P::Resolved)),
    (P::Probation, E::Lose, Side(P::Unknown)),
    (P::Probation, E::Gone, Go(P::Resolved)),
    (P::Escalated, E::Begin, Go(P::Acting)),
    (P::Escalated, E::Recovered, Go(P::Probation)),
    (P::Escalated, E::Approve, Go(P::Isolated)),
    (P::Escalated, E::Gone, Go(P::Resolved)),
    (P::Paused, E::Resume, Back),
    (P::Paused, E::Begin, Go(P::Acting)),
    (P::Paused, E::Recovered, Go(P::Probation)),
    (P::Paused, E::Gone, Go(P::Resolved)),
    (P::Storm, E::Calm, Back),
    (P::Storm, E::Begin, Go(P::Acting)),
    (P::Storm, E::Recovered, Go(P::Probation)),
    (P::Storm, E::Gone, Go(P::Resolved)),
    (P::Unknown, E::Find, Back),
    (P::Unknown, E::Gone, Go(P::Resolved)),
];

/// Where `event` leads from `phase`; `back` is where a side state came from. Gives the next
/// phase and the next `back`.
///
/// # Errors
/// [`Illegal`] when the table has no such row.
pub fn next(
    phase: Phase,
    back: Option<Phase>,
    event: Event,
) -> Result<(Phase, Option<Phase>), Illegal> {
    let row = TABLE.iter().find(|(from, by, _)| (*from, *by) == (phase, event));
    match (row.map(|(_, _, to)| *to), back) {
        (Some(Go(to)), _) => Ok((to, None)),
        (Some(Side(to)), _) => Ok((to, Some(phase))),
        (Some(Back), Some(to)) => Ok((to, None)),
        (Some(Back), None) | (None, _) => Err(Illegal { phase, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written apart from the table: a letter for each phase that an event leads to, `<` for
    /// back, `.` for an event that cannot happen.
    const EXPECTED: &str = "
        event       S C I A V P R E U M K
        Confirm     C . . . . . . . . . .
        Clear       R . . . . . . . . . .
        Shut        . I . . . . . . . . .
        Begin       . A A . . . . A A A .
        Done        . . . V . . . . . . .
        Passed      . . . I . . . . . . .
        Failed      . . . I . . . . . . .
        Return      . . . C C . . C . . .
        Verified    . . . . P . . . . . .
        Unverified  . . . . I . . . . . .
        Recovered   . P P . . . . P P P .
        Settled     . . . . . R . . . . .
        Relapse     . . . . . C . . . . .
        Escalate    . E E . . . . . . . .
        Approve     . . . . . . . I . . .
        Pause       . U U . U . . . . . .
        Resume      . . . . . . . . < . .
        Halt        . M M . M . . . . . .
        Calm        . . . . . . . . . < .
        Lose        . K K . K K . . . . .
        Find        . . . . . . . . . . <
        Gone        R R R . R R . R R R R";
    const LETTERS: &str = "SCIAVPREUMK";

    fn phase(letter: char) -> Phase {
        Phase::ALL[LETTERS.find(letter).unwrap()]
    }

    #[test]
    fn every_event_in_every_phase_does_what_is_expected() {
        let rows: Vec<Vec<&str>> =
            EXPECTED.trim().lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), Event::ALL.len());
        for (event, row) in Event::ALL.into_iter().zip(rows) {
            assert_eq!(format!("{event:?}"), row[0]);
            assert_eq!(row.len(), 1 + Phase::ALL.len());
            for (from, cell) in Phase::ALL.into_iter().zip(&row[1..]) {
                let side = matches!(from, P::Paused | P::Storm | P::Unknown);
                let back = side.then_some(P::Verifying);
                let got = next(from, back, event);
                let expected = match cell.chars().next().unwrap() {
                    '.' => Err(Illegal { phase: from, event }),
                    '<' => Ok((P::Verifying, None)),
                    letter => {
                        let to = phase(letter);
                        let aside = matches!(to, P::Paused | P::Storm | P::Unknown);
                        Ok((to, aside.then_some(from)))
                    }
                };
                assert_eq!(got, expected, "{from:?} {event:?}");
            }
        }
    }

    #[test]
    fn no_row_stands_twice_and_every_phase_can_end() {
        for (at, row) in TABLE.iter().enumerate() {
            let same = TABLE.iter().skip(at + 1).find(|o| (o.0, o.1) == (row.0, row.1));
            assert!(same.is_none(), "{row:?}");
        }
        // From everywhere, some way leads to the end.
        let mut ends = vec![P::Resolved];
        for _ in Phase::ALL {
            let more = TABLE.iter().filter(|row| matches!(row.2, Go(to) if ends.contains(&to)));
            ends.extend(more.map(|row| row.0).collect::<Vec<_>>());
        }
        assert!(Phase::ALL.iter().all(|phase| ends.contains(phase)));
        assert!(TABLE.iter().all(|row| row.0 != P::Resolved), "what is over stays over");
    }

    #[test]
    fn a_side_state_that_came_from_nowhere_goes_nowhere() {
        assert!(next(P::Paused, None, E::Resume).is_err());
    }
}
