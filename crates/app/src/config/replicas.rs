//! From `[[service.replica]]` to instances that the keeper runs and replicas that the
//! gateway knows.

use super::check::readable;
use super::service::{ReplicaConfig, ServiceConfig};
use evenkeel_domain::Endpoint;
use evenkeel_domain::detour::Detour;
use evenkeel_domain::orchestrator::InstanceSpec;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::transport::Dial;
use evenkeel_supervisor::validate;
use evenkeel_wire::tls::{self, ClientFiles};
use evenkeel_wire::{TcpDialer, TlsDialer};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time for a model to load, unless set.
pub(crate) const STARTUP: Duration = Duration::from_secs(600);
/// Time for a server to end, unless set.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// How many numbers of a service an entry takes: the copies there may be, or one.
pub(crate) fn numbers(service: &ServiceConfig, replica: &ReplicaConfig) -> u32 {
    match (&replica.command, &service.scale) {
        (Some(_), Some(scale)) => scale.max,
        (Some(_), None) => replica.copies.unwrap_or(1),
        (None, _) => u32::from(replica.url.is_some()),
    }
}

/// The replica entries of a service with the first number of each.
pub(crate) fn numbered(service: &ServiceConfig) -> impl Iterator<Item = (u32, &ReplicaConfig)> {
    let mut next = 0;
    service.replica.iter().map(move |replica| {
        let first = next;
        next += numbers(service, replica);
        (first, replica)
    })
}

/// What the keeper runs for a service, where it is scaled at its largest.
pub(crate) fn instances(service: &ServiceConfig) -> Vec<InstanceSpec> {
    numbered(service)
        .flat_map(|(first, replica)| {
            (0..numbers(service, replica)).filter_map(move |copy| {
                let command = replica.command.clone()?;
                Some(instance(service, replica, command, first + copy, copy))
            })
        })
        .collect()
}

/// How long a replica that runs elsewhere may take to answer for the first time; `None` for
/// one that the supervisor starts, with a deadline of its own.
pub(crate) fn first_answer(replica: &ReplicaConfig) -> Option<Duration> {
    replica.command.is_none().then(|| replica.startup_deadline.unwrap_or(STARTUP))
}

fn instance(
    service: &ServiceConfig,
    replica: &ReplicaConfig,
    command: Vec<String>,
    number: u32,
    copy: u32,
) -> InstanceSpec {
    InstanceSpec {
        name: format!("{}-{number}", service.name),
        service: service.name.clone(),
        command,
        env: replica.env.clone(),
        cwd: replica.cwd.clone(),
        user: replica.user.clone(),
        node: replica.node.clone(),
        index: copy,
        port: replica.port,
        startup_deadline: replica.startup_deadline.unwrap_or(STARTUP),
        stop_grace: replica.stop_grace.unwrap_or(STOP_GRACE),
        log: Default::default(),
        once: false,
        dormant: super::standby::is_cold(replica),
    }
}

/// What is wrong with a replica's files and command: (key suffix, message).
pub(super) fn problems(
    service: &str,
    replica: &ReplicaConfig,
    scaled: bool,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Some(command) = &replica.command {
        let spec = InstanceSpec {
            env: replica.env.clone(),
            cwd: replica.cwd.clone(),
            user: replica.user.clone(),
            port: replica.port,
            command: command.clone(),
            ..InstanceSpec::new(&format!("{service}-0"), service, &[])
        };
        if let Err(error) = validate(&spec) {
            found.push((".command".into(), error.to_string()));
        } else if replica.node.is_none()
            && let Err(text) = program(&replica.env, replica.cwd.as_deref(), command)
        {
            found.push((".command".into(), text));
        }
        if replica.port.is_some() && (replica.copies.unwrap_or(1) > 1 || scaled) {
            found.push((
                ".port".into(),
                "several copies cannot share one port; use `{port}`".into(),
            ));
        }
    }
    if let Some(path) = &replica.bearer_file
        && let Err(text) = read_secret(path)
    {
        found.push((".bearer_file".into(), text));
    }
    if let Some(path) = &replica.file
        && let Err(text) = readable(path)
    {
        found.push((".file".into(), text));
    }
    let uses_tls = [&replica.url, &replica.dns]
        .into_iter()
        .flatten()
        .any(|url| url.starts_with("https://") || url.starts_with("grpcs://"));
    if (uses_tls || replica.ca.is_some() || replica.client_cert.is_some())
        && let Err(error) = tls::client(&client_files(replica), false)
    {
        found.push((String::new(), error.to_string()));
    }
    for (name, value) in &replica.headers {
        if http::HeaderName::try_from(name).is_err() || http::HeaderValue::from_str(value).is_err()
        {
            found.push((".headers".into(), format!("`{name}` is no valid header field")));
        }
    }
    found
}

/// Whether the program is there: found now, not at the first start.
pub(super) fn program(
    env: &BTreeMap<String, String>,
    cwd: Option<&Path>,
    command: &[String],
) -> Result<(), String> {
    let name = command.first().map(String::as_str).unwrap_or_default();
    let there = if name.contains('/') {
        // A path is the command's own, which begins in its directory.
        cwd.unwrap_or(Path::new("")).join(name).is_file()
    } else {
        let own = env.get("PATH").map(OsString::from);
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
    };
    match there {
        true => Ok(()),
        false => Err(format!("`{name}` does not exist; install it or correct `command`")),
    }
}

fn client_files(replica: &ReplicaConfig) -> ClientFiles {
    ClientFiles {
        ca: replica.ca.clone(),
        identity: replica.client_cert.clone().zip(replica.client_key.clone()),
    }
}

/// A secret from a file: its first line.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("{}: cannot be read: {e}; check path and rights", path.display()))?;
    let first = text.lines().next().unwrap_or_default().trim();
    if first.is_empty() {
        return Err(format!("{}: is empty; put the secret on its first line", path.display()));
    }
    Ok(Secret::new(first.to_owned()))
}

/// Header fields with a replica's own credentials.
pub(crate) fn own_headers(replica: &ReplicaConfig) -> Result<Vec<(String, Secret)>, String> {
    let mut all: Vec<(String, Secret)> =
        replica.headers.iter().map(|(n, v)| (n.clone(), Secret::new(v.clone()))).collect();
    if let Some(path) = &replica.bearer_file {
        let token = read_secret(path)?;
        all.push(("authorization".into(), Secret::new(format!("Bearer {}", token.expose()))));
    }
    Ok(all)
}

/// What opens connections to a replica.
pub(crate) fn dialer(
    replica: &ReplicaConfig,
    endpoint: &Endpoint,
    name: &str,
    way: Arc<Detour>,
) -> Result<Arc<dyn Dial>, String> {
    if !endpoint.tls {
        return Ok(Arc::new(TcpDialer::new(endpoint).by(way)));
    }
    let config = tls::client(&client_files(replica), true).map_err(|e| e.to_string())?;
    let name = replica.server_name.as_deref().unwrap_or(name);
    let dialer = TlsDialer::new(endpoint, name, config).map_err(|e| format!("`{name}`: {e}"))?;
    Ok(Arc::new(dialer.by(way)))
}
