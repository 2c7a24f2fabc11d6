//! Contradictions that the file's shape cannot express. All are found, not only the first.

use super::alert;
use super::answers;
use super::batch;
use super::checks;
use super::file::{Config, TlsConfig};
use super::job;
use super::keys;
use super::located::Problem;
use super::node;
use super::playbook;
use super::replicas;
use super::scale;
use super::service::{ReplicaConfig, ServiceConfig};
use super::slo;
use super::standby;
use super::trace;
use evenkeel_admin::check_exposure;
use evenkeel_domain::settings::Protocol;
use evenkeel_domain::{Endpoint, Pool};
use evenkeel_gateway::{Table, balance};
use evenkeel_health::probe;
use evenkeel_wire::tls;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }
}

/// Finds all contradictions.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    listeners(config, &mut problems);
    for (key, message) in trace::collector(&config.trace).err().unwrap_or_default() {
        problems.add(key, message);
    }
    if let Some((key, message)) = config.batch.as_ref().and_then(batch::problem) {
        problems.add(key, message);
    }
    let mut names = HashSet::new();
    for (at, service) in config.service.iter().enumerate() {
        let key = format!("service[{at}]");
        if !names.insert(&service.name) {
            let text = format!("the name `{}` is taken by another service", service.name);
            problems.add(format!("{key}.name"), text);
        }
        check_service(&key, service, &mut problems);
    }
    if config.service.is_empty() && config.job.is_empty() {
        problems.add("service", "no service is configured; add a [[service]] with a replica");
    }
    for (key, text) in playbook::problems(config).into_iter().chain(job::problems(config)) {
        problems.add(key, text);
    }
    for (key, text) in checks::problems(config).into_iter().chain(node::problems(config)) {
        problems.add(key, text);
    }
    for (key, text) in alert::problems(config) {
        problems.add(key, text);
    }
    for (key, text) in answers::across(config).into_iter().chain(keys::problems(config)) {
        problems.add(key, text);
    }
    if problems.0.is_empty() {
        build_table(config, &mut problems);
    }
    problems.0
}

fn listeners(config: &Config, problems: &mut Problems) {
    let listen = config.gateway.listen.all();
    if listen.is_empty() {
        problems.add("gateway.listen", "no address; try \"127.0.0.1:8080\"");
    }
    for address in listen {
        if address.parse::<SocketAddr>().is_err() {
            let text = format!("`{address}` is no address with a port; try \"127.0.0.1:8080\"");
            problems.add("gateway.listen", text);
        }
    }
    if let Some(tls) = &config.gateway.tls {
        check_tls("gateway.tls", tls, problems);
    }
    if config.gateway.workers == Some(0) {
        problems.add("gateway.workers", "at least one worker must serve");
    }
    let admin = &config.admin;
    match admin.listen.parse::<SocketAddr>() {
        Err(_) => {
            let text =
                format!("`{}` is no address with a port; try \"127.0.0.1:9900\"", admin.listen);
            problems.add("admin.listen", text);
        }
        Ok(address) => {
            let (token, tls) = (admin.token_file.is_some(), admin.tls.is_some());
            // The same rule as when it is served, so that what is checked also starts.
            if let Err(why) = check_exposure(address, token, tls) {
                let text = format!("anything but loopback needs `token_file` and `tls`: {why}");
                problems.add("admin.listen", text);
            }
        }
    }
    if let Some(tls) = &admin.tls {
        check_tls("admin.tls", tls, problems);
    }
    if let Some(path) = &admin.token_file
        && let Err(text) = replicas::read_secret(path)
    {
        problems.add("admin.token_file", text);
    }
}

fn check_tls(key: &str, files: &TlsConfig, problems: &mut Problems) {
    let loaded = tls::ServerIdentity::load(&files.cert, &files.key)
        .and_then(|identity| tls::server(identity, files.client_ca.as_deref()));
    if let Err(error) = loaded {
        problems.add(key, error.to_string());
    }
}

fn check_service(key: &str, service: &ServiceConfig, problems: &mut Problems) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if service.name.is_empty() || service.name.len() > 64 || !service.name.chars().all(good) {
        problems.add(
            format!("{key}.name"),
            "a name has 1 to 64 letters, digits, dashes, dots or underscores",
        );
    }
    if service.protocol == Protocol::Openai && service.models.is_empty() {
        problems.add(format!("{key}.models"), "name the models it serves, or [\"*\"] for any");
    }
    if balance::build(&service.balance, &service.balance_options).is_none() {
        let known: Vec<_> = balance::POLICIES.iter().map(|(name, _)| *name).collect();
        let text =
            format!("there is no policy `{}`; use one of {}", service.balance, known.join(", "));
        problems.add(format!("{key}.balance"), text);
    }
    let hash_key = &service.balance_options.key;
    if !hash_key.starts_with("header:") && !matches!(hash_key.as_str(), "user" | "prompt") {
        let text = format!("`{hash_key}` is none of `header:NAME`, `user`, `prompt`");
        problems.add(format!("{key}.balance_options.key"), text);
    }
    if !probe::KINDS.contains(&service.probe.kind.as_str()) {
        let text = format!(
            "there is no probe `{}`; use one of {}",
            service.probe.kind,
            probe::KINDS.join(", ")
        );
        problems.add(format!("{key}.probe.kind"), text);
    }
    check_numbers(key, service, problems);
    for (suffix, text) in keys::limits(&service.limits) {
        problems.add(format!("{key}.{suffix}"), text);
    }
    for (suffix, text) in scale::problems(service).into_iter().chain(slo::problems(service)) {
        problems.add(format!("{key}.{suffix}"), text);
    }
    for (suffix, text) in standby::problems(service) {
        problems.add(format!("{key}.{suffix}"), text);
    }
    for (suffix, text) in answers::problems(service) {
        problems.add(format!("{key}.{suffix}"), text);
    }
    for (at, route) in service.route.iter().enumerate() {
        if !route.path.is_empty() && !route.path.starts_with('/') {
            problems.add(format!("{key}.route[{at}].path"), "a path begins with `/`");
        }
    }
    if service.replica.is_empty() {
        problems.add(
            format!("{key}.replica"),
            "no replica; add a [[service.replica]] with `url` or `command`",
        );
    }
    for (at, replica) in service.replica.iter().enumerate() {
        check_replica(&format!("{key}.replica[{at}]"), service, replica, problems);
    }
}

fn check_numbers(key: &str, service: &ServiceConfig, problems: &mut Problems) {
    let deadlines = &service.deadlines;
    let (target, interval) = service.queue.codel(service.protocol);
    let positive: [(&str, Duration); 11] = [
        ("deadlines.connect", deadlines.connect),
        ("deadlines.first_byte", deadlines.first_byte),
        ("deadlines.idle", deadlines.idle),
        ("deadlines.total", deadlines.total),
        ("probe.interval", service.probe.interval),
        ("probe.timeout", service.probe.timeout),
        ("probe.fast_interval", service.probe.fast_interval),
        ("ejection.window", service.ejection.window),
        ("queue.max_wait", service.queue.max_wait),
        ("queue.target", target),
        ("queue.interval", interval),
    ];
    for (name, value) in positive {
        if value.is_zero() {
            problems.add(format!("{key}.{name}"), "must be above zero");
        }
    }
    if deadlines.first_byte > deadlines.total {
        problems.add(
            format!("{key}.deadlines.first_byte"),
            "longer than `total`, which would always end first",
        );
    }
    if target > interval {
        problems.add(
            format!("{key}.queue.target"),
            "longer than `interval`: no wait could be normal for so long",
        );
    }
    if service.retry.max_attempts == 0 {
        problems.add(format!("{key}.retry.max_attempts"), "the first attempt counts: at least 1");
    }
    if service.ejection.success_percent > 100 || service.ejection.max_percent > 100 {
        problems.add(format!("{key}.ejection"), "a percentage is at most 100");
    }
    if service.ejection.suspect_after > service.ejection.consecutive {
        problems.add(
            format!("{key}.ejection.suspect_after"),
            "above `consecutive`: it would be isolated before it is suspect",
        );
    }
    if service.max_replay > service.max_body {
        problems.add(format!("{key}.max_replay"), "larger than `max_body`");
    }
}

fn check_replica(
    key: &str,
    service: &ServiceConfig,
    replica: &ReplicaConfig,
    problems: &mut Problems,
) {
    let sources = [
        replica.url.is_some(),
        replica.dns.is_some(),
        replica.file.is_some(),
        replica.command.is_some(),
    ];
    if sources.iter().filter(|s| **s).count() != 1 {
        problems.add(key, "needs exactly one of `url`, `dns`, `file` and `command`");
        return;
    }
    for (name, url) in [("url", &replica.url), ("dns", &replica.dns)] {
        if let Some(url) = url
            && let Err(error) = url.parse::<Endpoint>()
        {
            problems.add(format!("{key}.{name}"), error.to_string());
        }
    }
    if let Some(weight) = replica.weight
        && !(weight > 0.0 && weight <= 1000.0)
    {
        problems.add(format!("{key}.weight"), "a weight is above 0 and at most 1000");
    }
    if replica.startup_deadline.is_some_and(|time| time.is_zero()) {
        problems.add(format!("{key}.startup_deadline"), "must be above zero");
    }
    if replica.command.is_none() {
        for (name, set) in [
            ("copies", replica.copies.is_some()),
            ("cwd", replica.cwd.is_some()),
            ("user", replica.user.is_some()),
            ("node", replica.node.is_some()),
            ("env", !replica.env.is_empty()),
            ("port", replica.port.is_some()),
        ] {
            if set {
                problems.add(format!("{key}.{name}"), "only for replicas with a `command`");
            }
        }
    }
    if replica.client_cert.is_some() != replica.client_key.is_some() {
        problems.add(key, "`client_cert` and `client_key` go together");
    }
    for problem in replicas::problems(&service.name, replica, service.scale.is_some()) {
        problems.add(format!("{key}{}", problem.0), problem.1);
    }
}

/// What only shows when all services are put together.
fn build_table(config: &Config, problems: &mut Problems) {
    let services = config
        .service
        .iter()
        .map(|s| (s.settings(), Arc::new(Pool::new(s.name.as_str().into())), s.routes()))
        .collect();
    if let Err(error) = Table::build(services) {
        problems.add("service", error.to_string());
    }
}

/// Whether a file is there and readable, for paths that are used later.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    std::fs::File::open(path)
        .map(drop)
        .map_err(|e| format!("{}: cannot be read: {e}; check path and rights", path.display()))
}
