//! Replicas behind a DNS name or in a file: looked up again all the time, since a missed
//! event would otherwise be missed for ever.

use crate::config::{ReplicaConfig, ServiceConfig};
use evenkeel_domain::Endpoint;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How often a name is resolved again.
const DNS_EVERY: Duration = Duration::from_secs(5);
/// How long one resolution may take.
const DNS_WITHIN: Duration = Duration::from_secs(5);
/// How often a file is read again.
const FILE_EVERY: Duration = Duration::from_secs(1);
/// Replicas taken from one name or file at most.
const MOST: usize = 1000;

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Query {
    Dns(Endpoint),
    File(PathBuf),
}

/// What was found, by query, kept up to date by one task per query.
pub(super) struct Found {
    answers: HashMap<Query, BTreeSet<String>>,
    tasks: HashMap<Query, JoinHandle<()>>,
    sender: mpsc::Sender<(Query, BTreeSet<String>)>,
    inbox: mpsc::Receiver<(Query, BTreeSet<String>)>,
}

impl Default for Found {
    fn default() -> Self {
        let (sender, inbox) = mpsc::channel(64);
        Self { answers: HashMap::new(), tasks: HashMap::new(), sender, inbox }
    }
}

fn query(replica: &ReplicaConfig) -> Option<Query> {
    if let Some(dns) = &replica.dns {
        return dns.parse().ok().map(Query::Dns);
    }
    replica.file.clone().map(Query::File)
}

impl Found {
    /// Looks up what these services ask for, and nothing else.
    pub(super) fn follow(&mut self, services: &[ServiceConfig]) {
        let wanted: Vec<Query> =
            services.iter().flat_map(|s| &s.replica).filter_map(query).collect();
        self.tasks.retain(|query, task| {
            let keep = wanted.contains(query);
            if !keep {
                task.abort();
            }
            keep
        });
        self.answers.retain(|query, _| wanted.contains(query));
        for query in wanted {
            let sender = self.sender.clone();
            self.tasks.entry(query.clone()).or_insert_with(|| tokio::spawn(look_up(query, sender)));
        }
    }

    /// Waits until something is found that differs from before. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        // Never closed: `self` holds a sender.
        while let Some((query, answer)) = self.inbox.recv().await {
            if !self.tasks.contains_key(&query) {
                continue;
            }
            if self.answers.insert(query, answer.clone()).as_ref() != Some(&answer) {
                return;
            }
        }
    }

    /// The places of one entry, each with the name its certificate is for.
    pub(super) fn places(&self, replica: &ReplicaConfig) -> Vec<(Endpoint, String)> {
        let Some(query) = query(replica) else { return Vec::new() };
        let Some(answer) = self.answers.get(&query) else { return Vec::new() };
        match &query {
            Query::Dns(endpoint) => answer
                .iter()
                .filter_map(|ip| Some((endpoint.at(ip.parse().ok()?), endpoint.host.to_string())))
                .collect(),
            Query::File(_) => answer
                .iter()
                .filter_map(|url| url.parse::<Endpoint>().ok())
                .map(|endpoint| (endpoint.clone(), endpoint.host.to_string()))
                .collect(),
        }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn look_up(query: Query, sender: mpsc::Sender<(Query, BTreeSet<String>)>) {
    loop {
        let (answer, pause) = match &query {
            Query::Dns(endpoint) => (resolve(endpoint).await, DNS_EVERY),
            Query::File(path) => (read(path).await, FILE_EVERY),
        };
        match answer {
            Ok(answer) => {
                if sender.send((query.clone(), answer)).await.is_err() {
                    return;
                }
            }
            // What was found before stays: a resolver that fails is no reason to stop.
            Err(error) => tracing::warn!(?query, error, "replicas cannot be looked up"),
        }
        sleep(pause).await;
    }
}

async fn resolve(endpoint: &Endpoint) -> Result<BTreeSet<String>, String> {
    let found = timeout(DNS_WITHIN, tokio::net::lookup_host((&*endpoint.host, endpoint.port)))
        .await
        .map_err(|_| format!("no answer within {DNS_WITHIN:?}"))?
        .map_err(|e| e.to_string())?;
    let found: BTreeSet<IpAddr> = found.map(|address| address.ip()).take(MOST).collect();
    Ok(found.into_iter().map(|ip| ip.to_string()).collect())
}

async fn read(path: &Path) -> Result<BTreeSet<String>, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| e.to_string())?;
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let urls: BTreeSet<String> = lines.take(MOST).map(str::to_owned).collect();
    // One bad line refuses the whole file: half a list is a mistake, not a wish.
    match urls.iter().find_map(|url| url.parse::<Endpoint>().err()) {
        Some(error) => Err(format!("{}: {error}", path.display())),
        None => Ok(urls),
    }
}
