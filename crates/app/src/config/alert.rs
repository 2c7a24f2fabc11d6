//! `[[channel]]`, `[[alert]]` and `[alerts]`: who is told of what, how often, and when not.

use super::file::Config;
use evenkeel_domain::alert::{Labels, Severity};
use evenkeel_notify::channel::{self, Channel};
use evenkeel_notify::source::{REGISTRY, SourceSettings, rule_problems};
use evenkeel_notify::stage::{Policy, Quiet, REST, Route, Step, WindowSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Channels at most: each has a task and metrics.
const CHANNELS: usize = 32;
/// Routes and silences at most.
const ROUTES: usize = 64;
/// Longer times are typing errors.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Shorter ones would have nobody look any more.
const SHORTEST: Duration = Duration::from_secs(1);

/// Who is told of what. Without any of it all channels hear of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AlertsConfig {
    /// Alerts alike in these labels are told together.
    pub(crate) group_by: Vec<String>,
    /// How long a group waits for more before it is told.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) group_wait: Duration,
    /// How long until it is told again while nobody acknowledges.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) repeat: Duration,
    /// What goes to whom; the first that matches. What none matches goes to all channels.
    pub(crate) route: Vec<RouteConfig>,
    /// When nobody is told of what, again and again.
    pub(crate) silence: Vec<SilenceConfig>,
    /// What is said otherwise of what raises alerts (`evenkeel alert list` names them).
    pub(crate) source: BTreeMap<String, SourceSettings>,
    /// Who hears that alerting lives: a dead-man's switch.
    pub(crate) alive: Option<AliveConfig>,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            group_by: vec!["severity".into(), "service".into()],
            group_wait: Duration::from_secs(2),
            repeat: Duration::from_secs(4 * 3600),
            route: Vec::new(),
            silence: Vec::new(),
            source: BTreeMap::new(),
            alive: None,
        }
    }
}

/// What goes to whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteConfig {
    /// Its name; its place without one.
    pub(crate) name: Option<String>,
    /// Only alerts as urgent as this.
    pub(crate) severity: Option<Severity>,
    /// Only those of this service.
    pub(crate) service: Option<String>,
    /// Only those with these labels; `*` at the end of a value stands for anything.
    pub(crate) labels: Labels,
    /// Only then.
    pub(crate) during: Option<WindowSettings>,
    /// Who is told, one after another, until somebody acknowledges.
    pub(crate) step: Vec<StepConfig>,
}

/// One stage of an escalation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepConfig {
    /// Channels.
    pub(crate) to: Vec<String>,
    /// How long they have to acknowledge before the next step is taken as well.
    #[serde(default = "wait", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) wait: Duration,
}

/// Time to wake up, read and type.
fn wait() -> Duration {
    Duration::from_secs(300)
}

/// Nobody is told of what matches in a window that comes again every week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceConfig {
    /// Labels that must all match; `*` at the end of a value stands for anything.
    pub(crate) labels: Labels,
    /// When.
    pub(crate) during: WindowSettings,
    /// Why.
    pub(crate) why: String,
}

/// A dead-man's switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliveConfig {
    /// Channels.
    pub(crate) to: Vec<String>,
    /// How often.
    #[serde(default = "every", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) every: Duration,
}

fn every() -> Duration {
    Duration::from_secs(60)
}

/// A channel, or why it cannot be used.
pub(crate) type Made = Result<Arc<dyn Channel>, String>;

/// Where alerts are kept.
pub(crate) fn alerts_path(config: &Config) -> PathBuf {
    super::state_dir(config).join("store").join("alerts.db")
}

/// The channels: name, kind, and the channel. The configuration was checked; what has changed since (a file that is
/// gone) is told with the channel.
pub(crate) fn channels(config: &Config) -> Vec<(String, String, Made)> {
    let make = |c: &evenkeel_notify::ChannelSettings| {
        let made = channel::make(c).map_err(|(key, text)| format!("`{key}` {text}"));
        (c.name.clone(), c.kind.clone(), made)
    };
    config.channel.iter().map(make).collect()
}

/// Whom alerts go to. The configuration was checked.
pub(crate) fn policy(config: &Config) -> Policy {
    let alerts = &config.alerts;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let step = |s: &StepConfig| Step { to: s.to.clone(), wait: millis(s.wait) };
    let route = |(at, route): (usize, &RouteConfig)| Route {
        name: name(at, route),
        matching: matching(route),
        during: route.during.as_ref().and_then(|during| during.window().ok()),
        steps: route.step.iter().map(step).collect(),
    };
    let quiet = |silence: &SilenceConfig| {
        let window = silence.during.window().ok()?;
        Some(Quiet { matching: silence.labels.clone(), window, why: silence.why.clone() })
    };
    Policy {
        routes: alerts.route.iter().enumerate().map(route).collect(),
        group_by: alerts.group_by.clone(),
        group_wait: millis(alerts.group_wait),
        repeat: millis(alerts.repeat),
        quiet: alerts.silence.iter().filter_map(quiet).collect(),
        channels: config.channel.iter().map(|channel| channel.name.clone()).collect(),
        alive: alerts.alive.as_ref().map(|alive| (alive.to.clone(), millis(alive.every))),
    }
}

fn name(at: usize, route: &RouteConfig) -> String {
    route.name.clone().unwrap_or_else(|| format!("route-{}", at + 1))
}

fn matching(route: &RouteConfig) -> Labels {
    let mut all = route.labels.clone();
    all.extend(route.severity.map(|s| ("severity".to_owned(), s.label().to_owned())));
    all.extend(route.service.clone().map(|service| ("service".to_owned(), service)));
    all
}

/// All contradictions: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    channel_problems(config, &mut found);
    for (at, key, text) in rule_problems(&config.alert, &config.check) {
        found.push((format!("alert[{at}].{key}"), text));
    }
    let alerts = &config.alerts;
    if alerts.group_wait > Duration::from_secs(600) {
        let text = "at most ten minutes: so long nobody hears of an outage";
        found.push(("alerts.group_wait".into(), text.into()));
    }
    if alerts.repeat < Duration::from_secs(10) || alerts.repeat > LONGEST {
        found.push(("alerts.repeat".into(), "from ten seconds to a week".into()));
    }
    if alerts.route.len() > ROUTES || alerts.silence.len() > ROUTES {
        found.push(("alerts".into(), format!("at most {ROUTES} routes and as many silences")));
    }
    for (at, route) in alerts.route.iter().enumerate() {
        let mut add = |key: &str, text| found.push((format!("alerts.route[{at}].{key}"), text));
        route_problems(config, at, route, &mut add);
    }
    for (at, silence) in alerts.silence.iter().enumerate() {
        let mut add = |key: &str, text| found.push((format!("alerts.silence[{at}].{key}"), text));
        if let Err((key, text)) = silence.during.window() {
            add(&format!("during.{key}"), text);
        }
        if silence.labels.is_empty() {
            add("labels", "hides everything; say so with alert = \"*\"".into());
        }
        if let Some(text) = never(config, &silence.labels) {
            add("labels", text);
        }
        if silence.why.trim().is_empty() {
            add("why", "is needed: it is shown with what is hidden".into());
        }
    }
    for name in alerts.source.keys() {
        if !REGISTRY.iter().any(|source| source.name() == name) {
            let known: Vec<_> = REGISTRY.iter().map(|source| source.name()).collect();
            let text = format!("there is no source `{name}`; use one of {}", known.join(", "));
            found.push((format!("alerts.source.{name}"), text));
        }
    }
    if let Some(alive) = &alerts.alive {
        let mut add = |key: &str, text| found.push((format!("alerts.alive.{key}"), text));
        known_channels(config, "to", &alive.to, &mut add);
        if alive.every < SHORTEST || alive.every > LONGEST {
            add("every", "from a second to a week".into());
        }
    }
    found
}

fn channel_problems(config: &Config, found: &mut Vec<(String, String)>) {
    if config.channel.len() > CHANNELS {
        found.push(("channel".into(), format!("at most {CHANNELS}: each has a task and metrics")));
    }
    let mut names = HashSet::new();
    for (at, settings) in config.channel.iter().enumerate() {
        let mut add = |key: &str, text: String| found.push((format!("channel[{at}].{key}"), text));
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &settings.name;
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            add("name", "a name has 1 to 64 letters, digits, dashes, dots or underscores".into());
        }
        if !names.insert(name) {
            add("name", format!("the name `{name}` is taken by another channel"));
        }
        if let Err((key, text)) = channel::make(settings) {
            add(key, text);
        }
        if !settings.command.is_empty()
            && let Err(text) = super::replicas::program(&BTreeMap::new(), None, &settings.command)
        {
            add("command", text);
        }
    }
}

fn route_problems(
    config: &Config,
    at: usize,
    route: &RouteConfig,
    add: &mut impl FnMut(&str, String),
) {
    let earlier = config.alerts.route.iter().enumerate().take(at);
    let own = name(at, route);
    if own == REST || earlier.clone().any(|(n, other)| name(n, other) == own) {
        add("name", format!("the name `{own}` is taken by another route"));
    }
    let all = |r: &RouteConfig| matching(r).is_empty() && r.during.is_none();
    if earlier.clone().any(|(_, other)| all(other)) {
        add("name", "never taken: a route before it takes everything; put that last".into());
    }
    if let Some(during) = &route.during
        && let Err((key, text)) = during.window()
    {
        add(&format!("during.{key}"), text);
    }
    if let Some(text) = never(config, &matching(route)) {
        add("service", text);
    }
    if route.step.is_empty() {
        add("step", "tells nobody; add step = [{ to = [\"CHANNEL\"] }]".into());
    }
    for (n, step) in route.step.iter().enumerate() {
        known_channels(config, &format!("step[{n}].to"), &step.to, add);
        if step.wait < SHORTEST || step.wait > LONGEST {
            add(&format!("step[{n}].wait"), "from a second to a week".into());
        }
    }
}

/// Why nothing will ever have these labels.
fn never(config: &Config, labels: &Labels) -> Option<String> {
    if let Some(service) = labels.get("service").filter(|service| !service.ends_with('*'))
        && !config.service.iter().any(|known| known.name == *service)
    {
        return Some(format!("there is no service `{service}`: this would never match"));
    }
    if let Some(severity) = labels.get("severity").filter(|severity| !severity.ends_with('*'))
        && !["page", "ticket"].contains(&severity.as_str())
    {
        return Some(format!("there is no severity `{severity}`; it is `page` or `ticket`"));
    }
    let alert = labels.get("alert").filter(|alert| !alert.ends_with('*'))?;
    let known = REGISTRY.iter().any(|source| source.name() == alert)
        || config.alert.iter().any(|rule| rule.name == *alert);
    (!known).then(|| format!("there is no alert `{alert}`: this would never match"))
}

fn known_channels(
    config: &Config,
    key: &str,
    names: &[String],
    add: &mut impl FnMut(&str, String),
) {
    if names.is_empty() {
        add(key, "names no channel".into());
    }
    for name in names {
        if !config.channel.iter().any(|channel| channel.name == *name) {
            add(key, format!("there is no channel `{name}`; add a [[channel]] of this name"));
        }
    }
}
