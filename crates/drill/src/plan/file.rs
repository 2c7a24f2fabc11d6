//! The shape of a drill file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A drill: what shall hold, what goes wrong, what is expected then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drill {
    /// What it shows, in a line.
    pub about: String,
    /// Whom it is about.
    pub target: Target,
    /// The clients meanwhile.
    pub load: LoadPlan,
    /// What must hold before anything is done.
    pub steady: Steady,
    /// What goes wrong. Several may overlap.
    pub fault: Vec<FaultStep>,
    /// What is expected.
    pub expect: Expectations,
    /// When it is broken off, its faults removed.
    pub stop: StopWhen,
    /// What it never does.
    pub limits: Limits,
}

/// Whom a drill is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Target {
    /// The service; may be left out where there is one.
    pub service: String,
    /// Which of its replicas: `"any"` (one that takes traffic), `"all"`, a number of them,
    /// a name, or a list of names.
    pub replicas: Which,
}

/// Which replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Which {
    /// So many.
    Count(usize),
    /// `any`, `all` or a name.
    Word(String),
    /// These.
    Names(Vec<String>),
}

impl Default for Which {
    fn default() -> Self {
        Self::Word("any".into())
    }
}

/// The clients during a drill: an open loop, so that nobody waits with asking for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadPlan {
    /// Where clients connect; by default where `./evenkeel.toml` says, or 127.0.0.1:8080.
    pub url: String,
    /// Requests a second.
    pub rate: f64,
    /// Whether answers are streamed.
    pub stream: bool,
    /// The model asked for; by default the service's first.
    pub model: String,
    /// `chat`, `completions` or `plain`, for services of plain HTTP and KServe.
    pub api: String,
    /// Path that is asked for, for `plain`.
    pub path: String,
    /// File that is POSTed, for `plain`; without it, GET.
    pub body: Option<PathBuf>,
    /// Distinct prompts. Answers to the same prompt must be the same, at temperature 0.
    pub prompts: usize,
    /// Bytes of a prompt.
    pub prompt_bytes: usize,
    /// The most tokens in an answer.
    pub max_tokens: u32,
    /// How long one answer may take before it counts as failed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// File with the key that clients show, where one is asked for.
    pub key_file: String,
    /// Whether answers are compared. Off for models that do not answer twice alike.
    pub compare: bool,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            url: String::new(),
            rate: 10.0,
            stream: true,
            model: String::new(),
            api: "chat".into(),
            path: String::new(),
            body: None,
            prompts: 8,
            prompt_bytes: 200,
            max_tokens: 30,
            timeout: Duration::from_secs(30),
            key_file: String::new(),
            compare: true,
        }
    }
}

/// What must hold before anything is done; else nothing is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Steady {
    /// For how long.
    #[serde(rename = "for", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lasts: Duration,
    /// No answer took longer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub longest_wait: Duration,
    /// So many requests failed at most.
    pub failed: u64,
}

impl Default for Steady {
    fn default() -> Self {
        Self { lasts: Duration::from_secs(4), longest_wait: Duration::from_secs(10), failed: 0 }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultStep {
    /// What, such as `stop`, `latency:300ms` or `http:500`; `evenkeel drill faults` lists all.
    pub what: String,
    /// For how long. What is over at once (`kill`) needs none.
    #[serde(default, rename = "for", with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub lasts: Option<Duration>,
    /// How long after the first one.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub after: Duration,
    /// Again each time so much has passed, for as long as `for` says.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub every: Option<Duration>,
    /// With several replicas: each so much later than the one before.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub spread: Duration,
}

/// How bad a replica must be known to be.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It gets nothing new.
    #[default]
    Suspect,
    /// It is out.
    Isolated,
}

/// What is expected once the fault is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expectations {
    /// It is known within this time of the fault; absent where it need not be.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub detected: Option<Duration>,
    /// As what.
    #[serde(rename = "as")]
    pub severity: Severity,
    /// Whether an incident must be opened.
    pub incident: bool,
    /// All replicas take traffic again within this time of the fault's end.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub recovered: Duration,
    /// So many requests fail at most.
    pub failed: u64,
    /// No answer takes longer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub longest_wait: Option<Duration>,
    /// The longest time without any good answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub longest_gap: Option<Duration>,
    /// For how long it is watched after.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub after: Duration,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            detected: None,
            severity: Severity::Suspect,
            incident: false,
            recovered: Duration::from_secs(60),
            failed: 0,
            longest_wait: None,
            longest_gap: None,
            after: Duration::from_secs(3),
        }
    }
}

/// When a drill is broken off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopWhen {
    /// More requests than so many have failed.
    pub failed: u64,
    /// No good answer for so long.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub gap: Duration,
}

impl Default for StopWhen {
    fn default() -> Self {
        Self { failed: 50, gap: Duration::from_secs(20) }
    }
}

/// What a drill never does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Touch more replicas than so many.
    pub replicas: usize,
    /// Put a fault in place while fewer of the service take traffic.
    pub ready: usize,
    /// Begin, or go on, while nothing is known to be left of the service's error budget, or it
    /// burns too fast. Off by default: a person who runs a drill has decided.
    pub budget: bool,
    /// Last longer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { replicas: 1, ready: 2, budget: false, time: Duration::from_secs(600) }
    }
}

/// Bounds of the numbers in a file.
#[derive(Debug)]
pub struct Bounds;

impl Bounds {
    /// The longest a drill may be asked to last.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// The most faults in one drill.
    pub const FAULTS: usize = 32;
    /// The most requests a second: more is a test of the machine.
    pub const RATE: f64 = 10_000.0;
    /// The most often that a fault is put in place anew.
    pub const SOONEST: Duration = Duration::from_millis(100);
}
