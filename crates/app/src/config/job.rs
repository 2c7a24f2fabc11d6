//! `[[job]]`: checks.

use super::file::Config;
use super::replicas;
use evenkeel_domain::job::JobSettings;
use evenkeel_domain::orchestrator::InstanceSpec;
use evenkeel_supervisor::validate;
use std::collections::HashSet;
use std::time::Duration;

/// Longer times are typing errors.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// All contradictions: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let supervised: HashSet<String> =
        config.service.iter().flat_map(replicas::instances).map(|spec| spec.name).collect();
    for (at, job) in config.job.iter().enumerate() {
        let mut add = |key: &str, text: String| found.push((format!("job[{at}]{key}"), text));
        if !names.insert(&job.name) || supervised.contains(&job.name) {
            add(".name", format!("the name `{}` is taken; give it another one", job.name));
        }
        for (key, text) in one(job) {
            add(key, text);
        }
    }
    found
}

fn one(job: &JobSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let spec = InstanceSpec {
        command: job.command.clone(),
        env: job.env.clone(),
        once: true,
        ..InstanceSpec::new(&job.name, "", &[])
    };
    if let Err(error) = validate(&spec) {
        found.push((".command", error.to_string()));
    } else if job.node.is_none()
        && let Err(text) = replicas::program(&job.env, job.cwd.as_deref(), &job.command)
    {
        found.push((".command", text));
    }
    let asks = |text: &String| text.contains("{checkpoint}");
    if job.checkpoint.is_none() && job.command.iter().chain(job.env.values()).any(asks) {
        let text = "`{checkpoint}` would never be anything; set `checkpoint = { dir = \"…\" }`";
        found.push((".command", text.into()));
    }
    if let Some(checkpoint) = &job.checkpoint {
        if !checkpoint.dir.is_absolute() {
            let text = "must be absolute: the job's own directory may be another one";
            found.push((".checkpoint.dir", text.into()));
        }
        if checkpoint.pattern.is_empty() || checkpoint.pattern.contains('/') {
            found.push((".checkpoint.pattern", "a name such as `step-*`, without `/`".into()));
        }
        let inside = |name: &String| !name.is_empty() && !name.starts_with(['/', '.']);
        if checkpoint.complete.as_ref().is_some_and(|name| !inside(name)) {
            found.push((".checkpoint.complete", "a file within the checkpoint".into()));
        }
    }
    if job.same_step == 0 {
        found.push((".same_step", "at least 1: the first failure is one".into()));
    }
    for (key, time) in [
        (".hang_after", job.hang_after),
        (".within", Some(job.within)),
        (".backoff", Some(job.backoff)),
    ] {
        if time.is_some_and(|time| time.is_zero() || time > LONGEST) {
            found.push((key, "must be above zero and at most a year".into()));
        }
    }
    found
}
