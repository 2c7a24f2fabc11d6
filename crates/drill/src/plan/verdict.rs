//! What came of a drill.

use crate::load::Report;
use crate::plan::Machine;
use crate::plan::marks::millis;
use serde::Serialize;
use std::time::Duration;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All was as expected.
    Passed,
    /// Something was not.
    Failed,
    /// It was broken off: no steady state, a stop condition, or a person.
    Aborted,
}

impl Verdict {
    /// The exit code of the command line.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Aborted => 3,
        }
    }

    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether it held.
    pub holds: bool,
}

/// A drill's figures; times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Mean time from fault to its being known (MTTD); absent where it was not.
    pub mttd_ms: Option<u64>,
    /// From the first fault until all took traffic again (MTTR).
    pub mttr_ms: Option<u64>,
    /// From the first fault until clients were served as before (RTO): the end of the last
    /// second with a failure or without a good answer. 0 when no client noticed; exact to a
    /// second.
    pub rto_ms: u64,
    /// The longest time without any good answer, from the first fault on; exact to 100 ms.
    pub longest_gap_ms: u64,
    /// The longest that a client waited for one answer, or for its failure.
    pub longest_wait_ms: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// The share that did not; absent where none ended.
    pub success: Option<f64>,
}

impl Machine {
    /// The figures, once the load has ended.
    #[must_use]
    pub fn figures(&self, load: &Report) -> Figures {
        let first = self.watch.first_struck();
        let known: Vec<Duration> = self.watch.detections().into_iter().flatten().collect();
        let mean = |all: &[Duration]| {
            let count = u32::try_from(all.len()).ok().filter(|count| *count > 0)?;
            Some(millis(all.iter().sum::<Duration>() / count))
        };
        let repaired = first.zip(self.watch.whole_since());
        Figures {
            mttd_ms: mean(&known),
            mttr_ms: repaired.map(|(from, to)| millis(to.saturating_sub(from))),
            rto_ms: first.map_or(0, |first| served_again(load, first)),
            longest_gap_ms: millis(self.watch.longest_gap()),
            longest_wait_ms: load.latency.max.max(load.failed_wait.max) as u64,
            requests: load.totals.ok + load.totals.failed,
            failed: load.totals.failed,
            success: load.totals.success,
        }
    }

    /// Each expectation, and whether it held.
    #[must_use]
    pub fn checked(&self, figures: &Figures) -> Vec<Checked> {
        let expect = &self.drill().expect;
        let mut all = Vec::new();
        let mut add = |what: &str, expected: String, seen: String, holds: bool| {
            all.push(Checked { what: what.into(), expected, seen, holds });
        };
        let began = self.watch.first_struck().is_some();
        let why = self.aborted().unwrap_or("it held");
        add(
            "steady state",
            "holds before".into(),
            if began { "it held" } else { why }.into(),
            began,
        );
        if !began {
            return all;
        }
        if let Some(within) = expect.detected {
            let seen = self.watch.detections();
            let late =
                seen.iter().map(|d| d.unwrap_or(Duration::MAX)).max().unwrap_or(Duration::MAX);
            let text = match late {
                Duration::MAX => "not".into(),
                late => format!("after {}", shown(late)),
            };
            add("detected", format!("within {}", shown(within)), text, late <= within);
        }
        if expect.incident {
            let there = self.watch.incident();
            add("incident", "opened".into(), if there { "opened" } else { "none" }.into(), there);
        }
        let over = self.faults_over().unwrap_or_default();
        let back = self.watch.whole_since().map(|at| at.saturating_sub(over));
        add(
            "recovered",
            format!("within {} of the fault's end", shown(expect.recovered)),
            back.map_or("not".into(), |after| format!("after {}", shown(after))),
            self.faults_over().is_some() && back.is_some_and(|after| after <= expect.recovered),
        );
        add(
            "failed requests",
            format!("at most {}", expect.failed),
            format!("{} of {}", figures.failed, figures.requests),
            figures.failed <= expect.failed && figures.requests > 0,
        );
        if let Some(wait) = expect.longest_wait {
            let seen = Duration::from_millis(figures.longest_wait_ms);
            add("longest wait", format!("at most {}", shown(wait)), shown(seen), seen <= wait);
        }
        if let Some(gap) = expect.longest_gap {
            let seen = Duration::from_millis(figures.longest_gap_ms);
            add("longest gap", format!("at most {}", shown(gap)), shown(seen), seen <= gap);
        }
        all
    }

    /// What came of it.
    #[must_use]
    pub fn verdict(&self, checked: &[Checked]) -> Verdict {
        match (self.aborted(), checked.iter().all(|c| c.holds)) {
            (Some(_), _) => Verdict::Aborted,
            (None, true) => Verdict::Passed,
            (None, false) => Verdict::Failed,
        }
    }
}

/// The end of the last second in which a client noticed something, since `first`.
fn served_again(load: &Report, first: Duration) -> u64 {
    let first = millis(first);
    let bad = |s: &&crate::load::Second| s.failed > 0 || (s.offered > 0 && s.ok == 0);
    // The last second is cut short by the end, and the first answers take their time.
    let inner = load.timeline.len().saturating_sub(1);
    let seconds = load.timeline[..inner].iter().filter(|s| (s.at_s + s.width_s) * 1000 > first);
    let last = seconds.filter(bad).map(|s| (s.at_s + s.width_s) * 1000).max();
    last.map_or(0, |end| end.saturating_sub(first))
}

/// For people, to a hundredth of a second.
pub(crate) fn shown(time: Duration) -> String {
    let rounded = Duration::from_millis(millis(time) / 10 * 10);
    humantime::format_duration(rounded).to_string()
}
