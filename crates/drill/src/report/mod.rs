//! What came of a drill, for programs, people, and whoever keeps it.

mod html;
mod junit;
mod svg;
mod table;

use crate::load::Report;
use crate::plan::{Checked, Drill, Figures, Lane, Machine, Mark, Verdict};
use crate::run::Run;
use serde::Serialize;

/// What came of a drill.
#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it was broken off; absent where it was not.
    pub aborted: Option<String>,
    /// When its load began.
    pub started_unix_ms: u64,
    /// The service.
    pub service: String,
    /// The replicas that were touched.
    pub replicas: Vec<String>,
    /// Expectations.
    pub checked: Vec<Checked>,
    /// Figures.
    pub figures: Figures,
    /// Faults as they were there.
    pub faults: Vec<FaultSpan>,
    /// What happened, oldest first.
    pub marks: Vec<Mark>,
    /// The states of replicas and gateway.
    pub lanes: Vec<Lane>,
    /// What clients saw.
    pub load: Report,
    /// The drill.
    pub drill: Drill,
    /// Its file.
    pub file: String,
}

/// A fault and when it was there, in milliseconds since the load began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultSpan {
    /// As it was written.
    pub what: String,
    /// On whom.
    pub on: String,
    /// From when.
    pub from_ms: u64,
    /// Till when; the same for what is over at once.
    pub to_ms: u64,
}

impl DrillReport {
    pub(crate) fn new(
        run: &Run,
        (service, replicas): (String, Vec<String>),
        machine: &Machine,
        load: Report,
        started_unix_ms: u64,
    ) -> Self {
        let figures = machine.figures(&load);
        let checked = machine.checked(&figures);
        let (faults, mut marks, lanes) = machine.spans();
        marks.sort_by_key(|mark| mark.at_ms);
        Self {
            name: run.name.clone(),
            about: run.drill.about.clone(),
            verdict: machine.verdict(&checked),
            aborted: machine.aborted().map(str::to_owned),
            started_unix_ms,
            service,
            replicas,
            checked,
            figures,
            faults,
            marks,
            lanes,
            load,
            drill: run.drill.clone(),
            file: run.text.clone(),
        }
    }

    /// As JSON, on several lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys: nothing that JSON cannot express.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// For a build server.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::render(self)
    }

    /// One file that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        html::render(self)
    }
}

/// A text inside HTML or XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no place for other control characters, whichever way they are written.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// A time of milliseconds, for people.
pub(crate) fn ms(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} ms"),
        1_000..60_000 => format!("{:.1} s", value as f64 / 1e3),
        _ => format!("{} min {} s", value / 60_000, value % 60_000 / 1_000),
    }
}
