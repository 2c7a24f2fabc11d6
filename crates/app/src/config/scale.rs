//! `[service.scale]`: checks, and the size that a service begins with.

use super::service::ServiceConfig;
use std::time::Duration;

/// Copies at most: ports of one machine, and a typing error.
const MOST: u32 = 256;
/// Longer windows are not remembered.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many copies a scaled service begins with; `None` for others.
pub(crate) fn first_size(service: &ServiceConfig) -> Option<u32> {
    let scale = service.scale.as_ref()?;
    let copies = service.replica.iter().find(|r| r.command.is_some())?.copies;
    Some(copies.unwrap_or(scale.min).clamp(scale.min, scale.max))
}

/// All contradictions: (key below the service, message).
pub(super) fn problems(service: &ServiceConfig) -> Vec<(String, String)> {
    let Some(scale) = &service.scale else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |key: &str, text: &str| found.push((key.to_owned(), text.to_owned()));
    let mut supervised = service.replica.iter().filter(|r| r.command.is_some());
    match (supervised.next(), service.replica.len()) {
        (Some(entry), 1) => {
            let copies = entry.copies.unwrap_or(scale.min);
            if copies < scale.min || copies > scale.max {
                let text = "where it begins: between `min` and `max` of [service.scale]";
                add("replica[0].copies", text);
            }
        }
        _ => add("scale", "needs exactly one [[service.replica]], and that with a `command`"),
    }
    if scale.min == 0 {
        add("scale.min", "at least 1: with none running nobody could be served");
    }
    if scale.max < scale.min || scale.max > MOST {
        add("scale.max", &format!("from `min` to {MOST}"));
    }
    let targets = [
        ("scale.target_queue", scale.target_queue, 10_000.0),
        ("scale.target_utilisation", scale.target_utilisation, 1.0),
        ("scale.target_first_token", scale.target_first_token.map(|t| t.as_secs_f64()), 3600.0),
    ];
    if targets.iter().all(|(_, target, _)| target.is_none()) {
        add("scale", "set one of `target_queue`, `target_utilisation`, `target_first_token`");
    }
    for (key, target, most) in targets {
        if target.is_some_and(|target| !(target > 0.0 && target <= most)) {
            add(key, &format!("above 0 and at most {most}"));
        }
    }
    if scale.down_after.is_zero() || scale.down_after > LONGEST {
        add("scale.down_after", "above zero and at most an hour");
    }
    if scale.up_after.is_some_and(|after| after > LONGEST) {
        add("scale.up_after", "at most an hour");
    }
    if scale.step_up == 0 || scale.step_down == 0 {
        add("scale", "`step_up` and `step_down` are at least 1");
    }
    found
}
