//! Standby replicas: checks, and what the gateway is given.

use super::service::{ReplicaConfig, ServiceConfig};
use evenkeel_domain::standby::{Call, Level, Role, Standby};
use std::time::Duration;

/// Longer waits are a mistake: nobody would take over for a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What makes an entry's replicas standbys; `None` for active ones.
pub(crate) fn of(replica: &ReplicaConfig) -> Option<Standby> {
    (replica.role == Role::Standby).then(|| Standby {
        level: replica.standby.unwrap_or(Level::Hot),
        load: replica.load.clone(),
        unload: replica.unload.clone(),
    })
}

/// Whether its process is not started until it is needed.
pub(crate) fn is_cold(replica: &ReplicaConfig) -> bool {
    of(replica).is_some_and(|standby| standby.level == Level::Cold)
}

/// All contradictions: (key below the service, message).
pub(super) fn problems(service: &ServiceConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let standbys = service.replica.iter().filter(|r| r.role == Role::Standby).count();
    for (at, replica) in service.replica.iter().enumerate() {
        let of_replica = |(key, text): (&str, &str)| {
            let dot = if key.is_empty() { "" } else { "." };
            (format!("replica[{at}]{dot}{key}"), text.to_owned())
        };
        found.extend(entry(replica).into_iter().map(of_replica));
    }
    let mut add = |key: &str, text: &str| found.push((key.to_owned(), text.to_owned()));
    if standbys > 0 && standbys == service.replica.len() {
        add(
            "replica",
            "only standbys: nobody is there to stand in for; make one `role = \"active\"`",
        );
    }
    if standbys > 0 && service.scale.is_some() {
        let text = "a scaled service has no standbys: the copies of `scale.min` are there already; \
                    remove [service.scale] or the standbys";
        add("scale", text);
    }
    let Some(rules) = &service.standby else { return found };
    if standbys == 0 {
        add("standby", "there is no standby; give a [[service.replica]] `role = \"standby\"`");
    }
    if rules.keep == Some(0) {
        add("standby.keep", "at least 1: with none on duty nobody would be served");
    }
    if rules.after > LONGEST || rules.clean > LONGEST {
        add("standby", "`after` and `clean` are at most a day");
    }
    found
}

/// What is wrong with one entry.
fn entry(replica: &ReplicaConfig) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let given = [
        ("standby", replica.standby.is_some()),
        ("load", replica.load.is_some()),
        ("unload", replica.unload.is_some()),
    ];
    let Some(standby) = of(replica) else {
        let text = "only for a standby; add `role = \"standby\"` or remove it";
        return given.into_iter().filter(|(_, set)| *set).map(|(key, _)| (key, text)).collect();
    };
    if replica.url.is_none() && replica.command.is_none() {
        found.push(("role", "a standby has a `url` or a `command`: it is one server"));
    }
    match standby.level {
        Level::Cold if replica.command.is_none() => found.push((
            "standby",
            "a cold standby is started by Evenkeel: give it a `command`, or make it `warm` or `hot`",
        )),
        Level::Warm if standby.load.is_none() => found.push((
            "load",
            "is needed for a warm standby: the request that loads its model, such as \
             `load = { path = \"/wake_up\" }`",
        )),
        _ => {}
    }
    if standby.level != Level::Warm {
        for (key, _) in given.into_iter().skip(1).filter(|(_, set)| *set) {
            found.push((key, "only with `standby = \"warm\"`; remove it"));
        }
    }
    for (key, call) in [("load", &standby.load), ("unload", &standby.unload)] {
        found.extend(call.iter().filter_map(|call| Some((key, wrong(call)?))));
    }
    found
}

fn wrong(call: &Call) -> Option<&'static str> {
    if !call.path.starts_with('/') {
        return Some("`path` begins with `/`");
    }
    let json = serde_json::from_str::<serde::de::IgnoredAny>(&call.body);
    json.is_err().then_some("`body` is no JSON")
}
