//! Contradictions in how a service's answers are made certain, kept and replaced.

use super::file::ServiceConfig;
use evenkeel_domain::answers::Compare;

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
