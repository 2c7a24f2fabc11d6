//! Contradictions in `[recovery]` and `[[playbook]]`, also with what they are about.

use super::checks::all as all_checks;
use super::file::Config;
use super::recovery::{LONGEST, PlaybookConfig, STEPS, Wrong, step};
use super::service::ServiceConfig;
use evenkeel_domain::incident::{About, Action, Elsewhere, More, Rules};
use std::collections::HashSet;
use std::time::Duration;

/// All contradictions: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |key: String, text: &str| found.push((key, text.to_owned()));
    let rules: &Rules = &config.recovery;
    for (name, time) in [
        ("window", rules.window),
        ("backoff", rules.backoff),
        ("backoff_max", rules.backoff_max),
        ("clean", rules.clean),
        ("probation", rules.probation),
        ("patience", rules.patience),
        ("remote_patience", rules.remote_patience),
    ] {
        if time.is_zero() || time > LONGEST {
            add(format!("recovery.{name}"), "must be above zero and at most a day");
        }
    }
    if rules.window > Duration::from_secs(3600) || rules.clean > Duration::from_secs(3600) {
        add(
            "recovery".into(),
            "`window` and `clean` are at most an hour: longer is not remembered",
        );
    }
    if rules.backoff > rules.backoff_max {
        add("recovery.backoff".into(), "longer than `backoff_max`");
    }
    if rules.at_once_percent > 100 || rules.storm_percent > 100 {
        add("recovery".into(), "a percentage is at most 100");
    }
    if rules.restarts == 0 {
        add("recovery.restarts".into(), "at least 1; `act = false` keeps it from acting");
    }
    if rules.keep_rows < 100 {
        add("recovery.keep_rows".into(), "at least 100: one incident has some 15");
    }
    for (at, playbook) in config.playbook.iter().enumerate() {
        found.extend(playbook_problems(config, at, playbook));
    }
    found
}

fn playbook_problems(
    config: &Config,
    at: usize,
    playbook: &PlaybookConfig,
) -> Vec<(String, String)> {
    let key = format!("playbook[{at}]");
    let mut found = Vec::new();
    let mut add = |at: &str, text: String| found.push((format!("{key}.{at}"), text));
    let about = playbook.about();
    match &about {
        None => {
            add("when", "needs a `service`; with `when = \"forecast\"` that or a `check`".into())
        }
        Some(About::Service(name) | About::Foreseen(name)) => {
            if !config.service.iter().any(|service| service.name == *name) {
                add("service", format!("there is no service `{name}`"));
            }
        }
        Some(About::Check(name)) => {
            if !all_checks(config).iter().any(|check| check.name == *name) {
                add("check", format!("there is no check `{name}`"));
            }
        }
    }
    if about.is_some() && config.playbook.iter().take(at).any(|other| other.about() == about) {
        add("when", "it has a playbook for this already; put the steps there".into());
    }
    if playbook.step.is_empty() || playbook.step.len() > STEPS {
        let text = format!("a playbook has 1 to {STEPS} steps; add a [[playbook.step]]");
        found.push((key.clone(), text));
    }
    for (n, one) in playbook.step.iter().enumerate() {
        let wrong = match step(one) {
            Err(wrong) => Some(wrong),
            Ok(step) => about.as_ref().and_then(|about| impossible(config, about, &step.action)),
        };
        found.extend(wrong.map(|(name, text)| (format!("{key}.step[{n}].{name}"), text)));
    }
    found
}

/// What cannot be done here: (key, what is wrong with it).
fn impossible(config: &Config, about: &About, action: &Action) -> Option<Wrong> {
    let service = match about {
        About::Service(name) | About::Foreseen(name) => name,
        About::Check(name) => return not_for_a_check(config, name, action),
    };
    let own = config.service.iter().find(|one| one.name == *service)?;
    match action {
        Action::Renew | Action::DropLogs if matches!(about, About::Service(_)) => {
            let text = "only with `when = \"forecast\"`; what does not serve takes `restart`";
            Some(("action", text.into()))
        }
        Action::Scale { more } => unscalable(own, *more),
        Action::FailOver { to: Elsewhere::Service(to) } => {
            nobody(config, own, to).map(|text| ("to", text))
        }
        _ => None,
    }
}

/// What needs a replica, where a check looks at something else.
fn not_for_a_check(config: &Config, check: &str, action: &Action) -> Option<Wrong> {
    let checks = all_checks(config);
    let kind = &checks.iter().find(|one| one.name == check)?.kind;
    let anything = matches!(
        action,
        Action::Wait | Action::Script { .. } | Action::Webhook { .. } | Action::Ask { .. }
    );
    let fits = match action {
        Action::Renew | Action::Restart { .. } => kind == "process",
        Action::DropLogs => kind == "disk",
        _ => anything,
    };
    let name = action.name();
    (!fits).then(|| ("action", format!("`{name}` makes no sense for a check of kind `{kind}`")))
}

fn unscalable(service: &ServiceConfig, more: More) -> Option<Wrong> {
    let name = &service.name;
    let Some(scale) = &service.scale else {
        let text = format!(
            "the copies of `{name}` are a fixed number; add [service.scale] with `min` and `max`"
        );
        return Some(("action", text));
    };
    let (min, max) = (scale.min, scale.max);
    match more {
        _ if max <= min => {
            let text = format!("`{name}` always has {max} copies; raise `max` of [service.scale]");
            Some(("action", text))
        }
        More::Copies(n) if n <= min || n > max => {
            let text =
                format!("more than {min}, which always run, and at most {max}: [service.scale]");
            Some(("copies", text))
        }
        More::Add(n) if n > max - min => {
            let text = format!("`{name}` has {min} to {max} copies: at most {}", max - min);
            Some(("add", text))
        }
        _ => None,
    }
}

/// Why a service cannot stand in for another.
fn nobody(config: &Config, own: &ServiceConfig, to: &str) -> Option<String> {
    if to == own.name {
        return Some("a service cannot stand in for itself; name another".into());
    }
    let Some(other) = config.service.iter().find(|one| one.name == to) else {
        return Some(format!("there is no service `{to}`"));
    };
    if other.protocol != own.protocol {
        return Some(format!("`{to}` speaks another protocol"));
    }
    let circle = way_back(config, &own.name, to)?;
    Some(format!("they stand in for each other: {} → {}", own.name, circle.join(" → ")))
}

/// The way from one service to another by who stands in for whom, if there is one.
fn way_back<'a>(config: &'a Config, to: &'a str, from: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut met = HashSet::from([from]);
    while let Some(way) = ways.pop() {
        let last = way.last().copied().unwrap_or(from);
        if last == to {
            return Some(way);
        }
        for next in fails_over_to(config, last).filter(|next| met.insert(*next)) {
            ways.push(way.iter().copied().chain([next]).collect());
        }
    }
    None
}

/// The services that playbooks let answer for another.
fn fails_over_to<'a>(config: &'a Config, service: &str) -> impl Iterator<Item = &'a str> {
    let of = move |one: &&PlaybookConfig| one.service.as_deref() == Some(service);
    config.playbook.iter().filter(of).flat_map(|one| &one.step).filter_map(|step| {
        let Elsewhere::Service(to) = step.to.as_ref()?;
        Some(to.as_str())
    })
}

/// Whether recovery may have another service answer for this one.
pub(super) fn fails_over(config: &Config, service: &str) -> bool {
    fails_over_to(config, service).next().is_some()
}
