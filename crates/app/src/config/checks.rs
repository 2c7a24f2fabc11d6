//! `[[check]]`: contradictions that only show beside services and replicas.

use super::file::Config;
use super::replicas;
use super::service::ServiceConfig;
use evenkeel_domain::check::{CHECKS, CheckSettings};
use evenkeel_health::check;
use std::time::Duration;

/// Longer times are typing errors.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The checks that run: those of the configuration, and one for each certificate that is shown,
/// unless one of its file is there already.
pub(crate) fn all(config: &Config) -> Vec<CheckSettings> {
    let mut all = config.check.clone();
    let servers = [("gateway", &config.gateway.tls), ("admin", &config.admin.tls)];
    let own = servers.into_iter().filter_map(|(of, tls)| Some((of.into(), &tls.as_ref()?.cert)));
    let of_replicas = config.service.iter().flat_map(|service| {
        let shown = service.replica.iter().filter_map(|r| r.client_cert.as_ref());
        shown.enumerate().map(|(n, path)| (format!("{}-{n}", service.name), path))
    });
    for (of, path) in own.chain(of_replicas) {
        let Ok(path) = std::path::absolute(path) else { continue };
        let known = |check: &CheckSettings| {
            check.kind == "certificate" && check.path.as_ref() == Some(&path)
        };
        if all.iter().any(known) || all.len() >= CHECKS {
            continue;
        }
        let settings = serde_json::json!({
            "name": format!("certificate-{of}"), "kind": "certificate", "path": path,
            "interval": "1h", "for": "0s",
        });
        all.extend(serde_json::from_value::<CheckSettings>(settings).ok());
    }
    all
}

/// All contradictions: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if config.check.len() > CHECKS {
        found.push(("check".into(), format!("at most {CHECKS}: each has a task and metrics")));
    }
    for (at, check) in config.check.iter().enumerate() {
        let mut add = |key: &str, text: String| found.push((format!("check[{at}].{key}"), text));
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if check.name.is_empty() || check.name.len() > 64 || !check.name.chars().all(good) {
            let text = "a name has 1 to 64 letters, digits, dashes, dots or underscores";
            add("name", text.into());
        }
        if config.check.iter().take(at).any(|other| other.name == check.name) {
            add("name", format!("the name `{}` is taken by another check", check.name));
        }
        let again = check.forecast.again;
        for (key, time) in [
            ("forecast.again", again),
            ("interval", check.interval),
            ("timeout", check.timeout),
            ("for", check.lasting),
        ] {
            if time > LONGEST {
                add(key, "at most a day".into());
            }
        }
        for (key, text) in concerns(config, check).into_iter().chain(program(check)) {
            add(key, text);
        }
        for (key, text) in check::problems(check) {
            add(&key, text);
        }
    }
    found
}

fn program(check: &CheckSettings) -> Option<(&'static str, String)> {
    if let Some(name) = check.forecast.command.first()
        && let Err(text) = replicas::program(&check.env, None, std::slice::from_ref(name))
    {
        return Some(("forecast.command", text));
    }
    if check.kind != "script" || check.command.is_empty() {
        return None;
    }
    let there = replicas::program(&check.env, check.cwd.as_deref(), &check.command);
    there.err().map(|text| ("command", text))
}

/// Whom it concerns must be there.
fn concerns(config: &Config, check: &CheckSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if check.service.is_some() && !check.replicas.is_empty() {
        found.push(("replicas", "`service` names them all already; give one of both".into()));
    }
    if let Some(service) = &check.service
        && !config.service.iter().any(|known| known.name == *service)
    {
        found.push(("service", format!("there is no service `{service}`")));
    }
    for name in &check.replicas {
        if !config.service.iter().any(|service| may_have(service, name)) {
            let text = format!("there is no replica `{name}`; names are such as `chat-0`");
            found.push(("replicas", text));
        }
    }
    if check.definite && check.service.is_none() && check.replicas.is_empty() && check.kind != "gpu"
    {
        let text = "isolates nobody: name a `service` or `replicas`, or remove it";
        found.push(("definite", text.into()));
    }
    found
}

/// Whether a service has a replica of this name, or may find one.
fn may_have(service: &ServiceConfig, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(&service.name).and_then(|rest| rest.strip_prefix('-'))
    else {
        return false;
    };
    if service.replica.iter().any(|r| r.dns.is_some() || r.file.is_some()) && rest.contains(':') {
        return true;
    }
    let numbers: u32 = service.replica.iter().map(|r| replicas::numbers(service, r)).sum();
    rest.parse::<u32>().is_ok_and(|number| number < numbers)
}
