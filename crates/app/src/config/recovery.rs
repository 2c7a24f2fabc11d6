//! `[recovery]` and `[[playbook]]`: from the file's shape to steps that cannot contradict
//! themselves.

use super::file::Config;
use evenkeel_domain::Endpoint;
use evenkeel_domain::incident::{About, Action, Elsewhere, More, Playbook, Step, Verify, When};
use evenkeel_recovery::Book;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The journal's file in the state directory.
const FILE: &str = "store/journal.db";
/// The account of availability beside it.
const ACCOUNT: &str = "store/slo.db";
/// Steps of one playbook: an incident carries them all.
pub(super) const STEPS: usize = 32;
/// A step that may take longer is a mistake: nobody would be called for a day.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long a hung process may take to end, unless set.
const GRACE: Duration = Duration::from_secs(2);

/// What is done about a replica of a service that does not serve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaybookConfig {
    /// The service.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// With `when = "forecast"`, in place of `service`: the check that sees a limit ahead.
    #[serde(default)]
    pub(crate) check: Option<String>,
    /// `fault`, for replicas that do not serve, or `forecast`, for a limit that a check sees
    /// ahead: these steps come in place of its own.
    #[serde(default)]
    pub(crate) when: Occasion,
    /// Steps, in order. With none left, a person is called.
    #[serde(default)]
    pub(crate) step: Vec<StepConfig>,
}

/// What a playbook is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Occasion {
    /// A replica does not serve.
    #[default]
    Fault,
    /// A limit will be reached.
    Forecast,
}

impl PlaybookConfig {
    /// What it is for; `None` where that is not said, or said twice.
    pub(super) fn about(&self) -> Option<About> {
        match (self.when, self.service.clone(), self.check.clone()) {
            (Occasion::Fault, Some(service), None) => Some(About::Service(service)),
            (Occasion::Forecast, Some(service), None) => Some(About::Foreseen(service)),
            (Occasion::Forecast, None, Some(check)) => Some(About::Check(check)),
            _ => None,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActionName {
    /// Take it out of traffic, if it is not out already.
    Isolate,
    /// Leave it alone: it may come back by itself.
    Wait,
    /// Stop and start its process.
    Restart,
    /// Drain it, then stop and start its process, at a quiet time. For forecasts.
    Renew,
    /// Drop old logs of Evenkeel's own from the disk that fills. For forecasts.
    DropLogs,
    /// Have a standby take over, if too few others serve.
    Promote,
    /// Start more copies of its service until the incident is over: `add` so many, or have
    /// `copies` run. Needs [service.scale].
    Scale,
    /// Have the service that `to` names answer, where none of its own replicas can, until the
    /// incident is over.
    FailOver,
    /// Move what is under way on it to its peers.
    MoveStreams,
    /// Have the model server load its model again, by a POST to `path`.
    Reload,
    /// Run `command`.
    Script,
    /// Tell `url`.
    Webhook,
    /// Ask a person `text`, and wait for `evenkeel incident approve`.
    Ask,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepConfig {
    /// What.
    pub(crate) action: ActionName,
    /// On which condition; otherwise it is passed over.
    #[serde(default)]
    pub(crate) when: When,
    /// How long the action may take, and again its verification.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub(crate) timeout: Option<Duration>,
    /// Whether the replica has to serve before the incident goes on: `serves` or `none`.
    pub(crate) verify: Option<Verify>,
    /// How often it is tried before the next step; once by default.
    pub(crate) tries: Option<u32>,
    /// For `restart`: how long the process may take to end before it is killed; 2 s by
    /// default, as what hangs does not listen.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub(crate) grace: Option<Duration>,
    /// For `scale`: so many more copies.
    pub(crate) add: Option<u32>,
    /// For `scale`: so many copies.
    pub(crate) copies: Option<u32>,
    /// For `fail_over`: who answers, such as `{ service = "chat-b" }`.
    pub(crate) to: Option<Elsewhere>,
    /// For `reload`: path on the replica.
    pub(crate) path: Option<String>,
    /// For `reload`: JSON body, `{}` by default.
    pub(crate) body: Option<String>,
    /// For `script`: program and arguments. It finds its key in `EVENKEEL_ACTION_KEY`.
    pub(crate) command: Option<Vec<String>>,
    /// For `webhook`.
    pub(crate) url: Option<String>,
    /// For `ask`.
    pub(crate) text: Option<String>,
}

/// Where the journal is.
pub(crate) fn journal_path(config: &Config) -> PathBuf {
    super::state_dir(config).join(FILE)
}

/// Where the account of availability is.
pub(crate) fn account_path(config: &Config) -> PathBuf {
    super::state_dir(config).join(ACCOUNT)
}

/// What recovery is given. The configuration was checked.
pub(crate) fn book(config: &Config) -> Book {
    let steps = |all: &[StepConfig]| all.iter().filter_map(|s| step(s).ok()).collect();
    let playbook = |p: &PlaybookConfig| Some(Playbook { about: p.about()?, steps: steps(&p.step) });
    Book {
        rules: config.recovery.clone(),
        playbooks: config.playbook.iter().filter_map(playbook).collect(),
    }
}

pub(super) type Wrong = (&'static str, String);

/// A step that makes sense, or (key, what is wrong with it).
pub(super) fn step(config: &StepConfig) -> Result<Step, Wrong> {
    let action = action(config)?;
    only_its_own(config)?;
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let (timeout, verify) = match action {
        Action::Renew => (minutes(15), Verify::Serves),
        Action::DropLogs => (minutes(5), Verify::None),
        Action::Restart { .. } | Action::Reload { .. } => (minutes(10), Verify::Serves),
        Action::Wait => (Duration::from_secs(30), Verify::Serves),
        Action::Script { .. } => (minutes(5), Verify::Serves),
        Action::Promote => (minutes(1), Verify::None),
        // Models load for minutes.
        Action::Scale { .. } => (minutes(10), Verify::None),
        _ => (Duration::from_secs(30), Verify::None),
    };
    let timeout = config.timeout.unwrap_or(timeout);
    if timeout.is_zero() || timeout > LONGEST {
        return Err(("timeout", "must be above zero and at most a day".into()));
    }
    let tries = config.tries.unwrap_or(1);
    if tries == 0 || tries > 10 {
        return Err(("tries", "must be 1 to 10".into()));
    }
    Ok(Step { action, when: config.when, timeout, verify: config.verify.unwrap_or(verify), tries })
}

fn action(config: &StepConfig) -> Result<Action, Wrong> {
    let needs = |key: &'static str, what: &str| (key, format!("is needed: {what}"));
    Ok(match config.action {
        ActionName::Isolate => Action::Isolate,
        ActionName::Wait => Action::Wait,
        ActionName::Restart => Action::Restart { grace: config.grace.unwrap_or(GRACE) },
        ActionName::Renew => Action::Renew,
        ActionName::DropLogs => Action::DropLogs,
        ActionName::Promote => Action::Promote,
        ActionName::Scale => Action::Scale { more: more(config)? },
        ActionName::FailOver => {
            let to = config.to.clone();
            let to = to.ok_or_else(|| needs("to", "who answers, as { service = \"NAME\" }"))?;
            Action::FailOver { to }
        }
        ActionName::MoveStreams => Action::MoveStreams,
        ActionName::Reload => {
            let path = config.path.clone();
            let path = path.ok_or_else(|| needs("path", "the path that makes it load again"))?;
            if !path.starts_with('/') {
                return Err(("path", "a path begins with `/`".into()));
            }
            let body = config.body.clone().unwrap_or_else(|| "{}".into());
            if serde_json::from_str::<serde::de::IgnoredAny>(&body).is_err() {
                return Err(("body", "is no JSON".into()));
            }
            Action::Reload { path, body }
        }
        ActionName::Script => {
            let command = config.command.clone().unwrap_or_default();
            if command.first().is_none_or(String::is_empty) {
                return Err(needs("command", "program and arguments, as a list"));
            }
            Action::Script { command }
        }
        ActionName::Webhook => {
            let url = config.url.clone().ok_or_else(|| needs("url", "where to tell it"))?;
            if let Err(error) = url.parse::<Endpoint>() {
                return Err(("url", error.to_string()));
            }
            Action::Webhook { url }
        }
        ActionName::Ask => {
            Action::Ask { text: config.text.clone().unwrap_or_else(|| "go on?".into()) }
        }
    })
}

fn more(config: &StepConfig) -> Result<More, Wrong> {
    match (config.add, config.copies) {
        (Some(0), None) => Err(("add", "at least 1".into())),
        (Some(n), None) => Ok(More::Add(n)),
        (None, Some(n)) => Ok(More::Copies(n)),
        _ => Err(("add", "give either `add`, so many more, or `copies`, so many in all".into())),
    }
}

/// Settings of another action are a mistake that nobody would see otherwise.
fn only_its_own(config: &StepConfig) -> Result<(), Wrong> {
    use ActionName as A;
    let given = [
        ("grace", config.grace.is_some(), A::Restart),
        ("add", config.add.is_some(), A::Scale),
        ("copies", config.copies.is_some(), A::Scale),
        ("to", config.to.is_some(), A::FailOver),
        ("path", config.path.is_some(), A::Reload),
        ("body", config.body.is_some(), A::Reload),
        ("command", config.command.is_some(), A::Script),
        ("url", config.url.is_some(), A::Webhook),
        ("text", config.text.is_some(), A::Ask),
    ];
    match given.into_iter().find(|(_, set, of)| *set && *of != config.action) {
        Some((key, _, of)) => {
            let of = serde_json::to_value(of).unwrap_or_default();
            let of = of.as_str().unwrap_or_default();
            Err((key, format!("only for the action `{of}`; remove it")))
        }
        None => Ok(()),
    }
}
