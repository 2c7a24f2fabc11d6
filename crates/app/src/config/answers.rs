//! Contradictions in how a service's answers are made certain, kept and replaced.

use super::file::Config;
use super::service::{FallbackConfig, ServiceConfig};
use evenkeel_domain::answers::{Compare, Fallback, LEVEL_MAX};

/// Largest fixed answer, in bytes.
const FIXED_MAX: usize = 64 << 10;

/// A step of the chain as the gateway is given it.
///
/// # Errors
/// With what is wrong with it.
pub(super) fn fallback(step: &FallbackConfig) -> Result<Fallback, String> {
    let text = match step {
        FallbackConfig::Named(name) if name == "cache" => return Ok(Fallback::Cache),
        FallbackConfig::Named(name) => {
            let service = name.strip_prefix("service:").filter(|name| !name.is_empty());
            return service.map(|name| Fallback::Service(name.to_owned())).ok_or_else(|| {
                format!("`{name}` is none of `service:NAME`, `cache`, {{ fixed = \"TEXT\" }}")
            });
        }
        FallbackConfig::Fixed { fixed } => fixed.clone(),
        FallbackConfig::File { file } => std::fs::read_to_string(file).map_err(|e| {
            format!("{}: cannot be read: {e}; check path and rights", file.display())
        })?,
    };
    match text.len() {
        0 => Err("a fixed answer says something".into()),
        1..=FIXED_MAX => Ok(Fallback::Fixed(text.into())),
        _ => Err(format!("a fixed answer has at most {FIXED_MAX} bytes")),
    }
}

/// What only shows when all services are seen: (key, message).
pub(super) fn across(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, service) in config.service.iter().enumerate() {
        let steps = service.fallback.iter().enumerate().filter_map(|(n, step)| match step {
            FallbackConfig::Named(name) => {
                Some((format!("service[{at}].fallback[{n}]"), name.strip_prefix("service:")?))
            }
            _ => None,
        });
        let larger = service.larger.as_deref().map(|l| (format!("service[{at}].larger"), l));
        let cheaper = service.degrade.as_ref().and_then(|d| d.cheaper.as_deref());
        let cheaper = cheaper.map(|c| (format!("service[{at}].degrade.cheaper"), c));
        for (key, name) in steps.chain(larger).chain(cheaper) {
            match config.service.iter().find(|s| s.name == name) {
                _ if name == service.name => {
                    found.push((key, "a service cannot stand in for itself".into()));
                }
                None => found.push((key, format!("there is no service `{name}`"))),
                Some(other) if other.protocol != service.protocol => {
                    found.push((key, format!("`{name}` speaks another protocol")));
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// What is wrong: (key below the service's, message).
pub(super) fn problems(service: &ServiceConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |key: &str, text: &str| found.push((key.to_owned(), text.to_owned()));
    if let Some(quorum) = &service.quorum {
        if quorum.of < 2 || quorum.of > 16 {
            add("quorum.of", "a vote has 2 to 16 voices");
        }
        if quorum.agree > quorum.of || quorum.agree * 2 <= quorum.of {
            add("quorum.agree", "more than half of `of`, and not more than all, must agree");
        }
        if matches!(quorum.compare, Compare::Numeric(t) if !t.is_finite() || t < 0.0) {
            add("quorum.compare", "a tolerance is a number from 0 up, such as 1e-6");
        }
        if quorum.isolate_after == 0 || quorum.isolate_after > 256 {
            add("quorum.isolate_after", "from 1 to 256 deviations");
        }
    }
    if let Some(cache) = &service.cache {
        if cache.bytes < 1 << 16 {
            add("cache.bytes", "less than 65536 bytes hold no answer worth it");
        }
        if cache.ttl.is_zero() {
            add("cache.ttl", "must be above zero; leave out `cache` to keep nothing");
        }
        let named = cache.per.strip_prefix("header:");
        let known = named.is_some_and(|name| http::HeaderName::try_from(name).is_ok());
        if !known && !matches!(&*cache.per, "key" | "all") {
            add("cache.per", "is none of `key`, `all` and `header:NAME`");
        }
    }
    if let Some(degrade) = &service.degrade {
        let above_zero = |n: f64| n.is_finite() && n > 0.0;
        if !above_zero(degrade.load) || !above_zero(degrade.burn) {
            add("degrade.load", "`load` and `burn` must be above zero");
        }
        if !above_zero(degrade.relief) || degrade.relief >= 1.0 {
            add("degrade.relief", "a share of the thresholds, above 0 and below 1");
        }
        if degrade.objective.is_some_and(|o| !(0.0..1.0).contains(&o)) {
            add("degrade.objective", "a share from 0 to below 1, such as 0.999");
        }
        if degrade.max_level > LEVEL_MAX {
            add("degrade.max_level", "the highest level is 6");
        }
        if degrade.max_tokens == 0 {
            add("degrade.max_tokens", "an answer has at least one token");
        }
    }
    for (at, step) in service.fallback.iter().enumerate() {
        match fallback(step) {
            Err(text) => add(&format!("fallback[{at}]"), &text),
            Ok(Fallback::Cache) if service.cache.is_none() => {
                add(&format!("fallback[{at}]"), "there is no cache; add [service.cache]");
            }
            Ok(_) => {}
        }
    }
    for (at, golden) in service.golden.iter().enumerate() {
        let mut add = |key: &str, text: &str| {
            found.push((format!("golden[{at}].{key}"), text.to_owned()));
        };
        if !golden.path.starts_with('/') {
            add("path", "a path begins with `/`");
        }
        if golden.prompt.is_some() == golden.body.is_some() {
            add("prompt", "give either `prompt` or `body`");
        }
        let body = golden.body.as_deref();
        if body.is_some_and(|b| serde_json::from_str::<serde::de::IgnoredAny>(b).is_err()) {
            add("body", "is no JSON");
        }
        const PROMPTED: [&str; 4] =
            ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/messages"];
        if golden.prompt.is_some() && !PROMPTED.contains(&golden.path.as_str()) {
            add("prompt", "this path takes no prompt that is known here; give the whole `body`");
        }
        if golden.interval.is_zero() || golden.timeout.is_zero() {
            add("interval", "`interval` and `timeout` must be above zero");
        }
    }
    found
}
