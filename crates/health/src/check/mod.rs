//! Checks: what hosts, devices, neighbours and databases say of themselves.
//!
//! ```text
//!  source (I/O, a file for each kind) ─► reading ─► limits ─► judge ─► state ─► shown
//!     its own thread, a timeout a look     pure      pure     pure       └► signal, when
//!                                                                          critical
//! ```
//! They run on a thread of their own: what hangs in a file system or a driver holds up
//! neither probes nor the request path. A new kind is one file and one line in [`KINDS`].

mod ahead;
mod asked;
mod certificate;
mod cpu;
#[cfg(test)]
mod databases;
mod disk;
mod disk_latency;
mod files;
mod gpu;
mod judge;
mod limits;
mod load;
mod memory;
mod mysql;
mod peer;
mod place;
mod postgresql;
mod process;
mod redis;
mod runner;
mod script;
mod slot;
#[cfg(test)]
mod suite;
mod task;
mod traffic;

pub use limits::Wrong;
pub use runner::{Checks, Members};

use evenkeel_domain::check::{Ahead, CheckSettings, CheckState, CheckValue, Unit};
use limits::Limits;
use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Shorter times would make a look a load.
const SHORTEST: Duration = Duration::from_millis(10);
/// Values of one look at most: each is a series of metrics.
const VALUES: usize = 32;
/// Things that one check looks at, at most.
const SUBJECTS: usize = 64;
/// Characters of a text for people.
const TEXT: usize = 400;

/// What one look has found.
#[derive(Debug, Default)]
struct Reading {
    parts: Vec<Part>,
}

/// What it has found of one thing.
#[derive(Debug, Default)]
struct Part {
    /// Which, where there are several.
    subject: Arc<str>,
    /// The replicas that it is about, where that is known better than from the settings.
    concerns: Option<Vec<Arc<str>>>,
    /// What the thing says of itself.
    said: Option<(CheckState, String)>,
    /// What it says is certain: it counts at once, and alone.
    certain: bool,
    /// What was measured.
    values: Vec<CheckValue>,
    /// Rises when it is to be said again, whatever its state.
    stage: usize,
    /// The limit that will be reached, where the kind knows it without a trend.
    ahead: Option<Ahead>,
}

impl Reading {
    /// Of one thing, of which values were measured.
    fn of(values: impl IntoIterator<Item = CheckValue>) -> Self {
        Self { parts: vec![Part { values: values.into_iter().collect(), ..Part::default() }] }
    }
}

fn value(measure: &str, value: f64, unit: Unit) -> CheckValue {
    CheckValue { measure: measure.to_owned(), value, unit }
}

/// A part of a whole; nothing of nothing is none.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}

/// Why there is no reading.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// What is asked does not work: that is an answer.
    Failed(String),
    /// It cannot be asked: that says nothing of it.
    NoData(String),
    /// An earlier look has not come back, which means what the kind says.
    Hangs(String),
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Reading, Trouble>> + Send + 'a>>;

/// Looks. Has no deadline of its own: the caller drops the future, and may ask again.
trait Source: Send + Debug {
    fn ask(&mut self) -> Asking<'_>;
}

/// What a kind can measure.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    unit: Unit,
    worse: Worse,
}

/// On which side of a threshold it is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worse {
    Above,
    Below,
}

const fn above(name: &'static str, unit: Unit) -> Measure {
    Measure { name, unit, worse: Worse::Above }
}

const fn below(name: &'static str, unit: Unit) -> Measure {
    Measure { name, unit, worse: Worse::Below }
}

type Build = fn(&CheckSettings, &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong>;

/// A kind of checks.
struct Kind {
    name: &'static str,
    /// Keys of the configuration that it knows, beside those of all.
    keys: &'static [&'static str],
    /// What it measures; empty where only the settings can say (scripts).
    measures: &'static [Measure],
    /// What it means when a look does not come back.
    silence: CheckState,
    build: Build,
}

/// All kinds.
const KINDS: &[Kind] = &[
    cpu::KIND,
    memory::KIND,
    disk::KIND,
    disk_latency::KIND,
    load::KIND,
    files::KIND,
    traffic::KIND,
    peer::KIND,
    process::KIND,
    certificate::KIND,
    gpu::KIND,
    postgresql::KIND,
    mysql::KIND,
    redis::KIND,
    asked::TCP,
    asked::HTTP,
    asked::GRPC,
    asked::INFERENCE,
    script::KIND,
];

fn kind(settings: &CheckSettings) -> Result<&'static Kind, Wrong> {
    KINDS.iter().find(|kind| kind.name == settings.kind).ok_or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        let text =
            format!("there is no check `{}`; use one of {}", settings.kind, known.join(", "));
        ("kind".to_owned(), text)
    })
}

/// All that is wrong with the settings of a check: (key below it, what and what helps).
#[must_use]
pub fn problems(settings: &CheckSettings) -> Vec<Wrong> {
    let kind = match kind(settings) {
        Ok(kind) => kind,
        Err(wrong) => return vec![wrong],
    };
    let mut found = Vec::new();
    for key in settings.own_keys() {
        if !kind.keys.contains(&key) {
            let text = format!("a check of the kind `{}` has no `{key}`; remove it", kind.name);
            found.push((key.to_owned(), text));
        }
    }
    if settings.interval < SHORTEST || settings.timeout < SHORTEST {
        let text = format!("`interval` and `timeout` are at least {SHORTEST:?}");
        found.push(("interval".into(), text));
    }
    if let Err(wrong) = Limits::compile(settings, kind.measures) {
        found.extend(wrong);
    }
    if found.is_empty()
        && let Err(wrong) = (kind.build)(settings, &runner::nobody())
    {
        found.push(wrong);
    }
    found
}

/// A key without which a kind has nothing to look at.
fn needed<'a, T>(value: &'a Option<T>, key: &str, what: &str) -> Result<&'a T, Wrong> {
    value.as_ref().ok_or_else(|| (key.to_owned(), format!("is missing: {what}")))
}

/// A place on this host. Where a relative one leads depends on where Evenkeel was started.
fn absolute<'a>(settings: &'a CheckSettings, what: &str) -> Result<&'a Path, Wrong> {
    let path = needed(&settings.path, "path", what)?;
    match path.is_absolute() {
        true => Ok(path),
        false => Err(("path".into(), format!("`{}` must begin with `/`", path.display()))),
    }
}

/// Text for people: one line, no longer than it may be.
fn short(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(TEXT).collect()
}
