//! Replicas behind a DNS name or in a file: looked up again all the time, since a missed
//! event would otherwise be missed for ever.

use crate::config::{ReplicaConfig, ServiceConfig};
use evenkeel_domain::Endpoint;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
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

type Addresses = Pin<Box<dyn Future<Output = Result<BTreeSet<IpAddr>, String>> + Send>>;
/// What turns names into addresses: the system, or a test.
type Resolve = Arc<dyn Fn(Endpoint) -> Addresses + Send + Sync>;

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
    resolve: Resolve,
}

impl Default for Found {
    fn default() -> Self {
        Self::with(Arc::new(|endpoint| Box::pin(resolve(endpoint))))
    }
}

fn query(replica: &ReplicaConfig) -> Option<Query> {
    if let Some(dns) = &replica.dns {
        return dns.parse().ok().map(Query::Dns);
    }
    replica.file.clone().map(Query::File)
}

impl Found {
    fn with(resolve: Resolve) -> Self {
        let (sender, inbox) = mpsc::channel(64);
        Self { answers: HashMap::new(), tasks: HashMap::new(), sender, inbox, resolve }
    }

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
            let looking = look_up(query.clone(), self.resolve.clone(), self.sender.clone());
            self.tasks.entry(query).or_insert_with(|| tokio::spawn(looking));
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

async fn look_up(query: Query, resolve: Resolve, sender: mpsc::Sender<(Query, BTreeSet<String>)>) {
    loop {
        let (answer, pause) = match &query {
            Query::Dns(endpoint) => (addresses(&resolve, endpoint).await, DNS_EVERY),
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

async fn addresses(resolve: &Resolve, endpoint: &Endpoint) -> Result<BTreeSet<String>, String> {
    let found = timeout(DNS_WITHIN, resolve(endpoint.clone()))
        .await
        .map_err(|_| format!("no answer within {DNS_WITHIN:?}"))??;
    Ok(found.into_iter().take(MOST).map(|ip| ip.to_string()).collect())
}

async fn resolve(endpoint: Endpoint) -> Result<BTreeSet<IpAddr>, String> {
    let found = tokio::net::lookup_host((&*endpoint.host, endpoint.port)).await;
    Ok(found.map_err(|e| e.to_string())?.map(|address| address.ip()).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::sync::Mutex;

    /// A name whose answer can be set; `None` when it cannot be resolved.
    #[derive(Clone, Default)]
    struct Name(Arc<Mutex<Option<BTreeSet<IpAddr>>>>);

    impl Name {
        fn is(&self, addresses: Option<&[&str]>) {
            let parsed = |all: &[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect();
            *self.0.lock().unwrap() = addresses.map(parsed);
        }

        fn found(&self) -> (Found, Vec<ServiceConfig>) {
            let name = self.clone();
            let text = "[[service]]\nname = \"s\"\nmodels = [\"*\"]\n[[service.replica]]\ndns = \
                        \"http://models.example:8000/v1\"\n";
            let services = config::parse(Path::new("test.toml"), text).unwrap().service;
            let mut found = Found::with(Arc::new(move |_| {
                let answer = name.0.lock().unwrap().clone();
                Box::pin(async { answer.ok_or_else(|| "no such name".to_owned()) })
            }));
            found.follow(&services);
            (found, services)
        }
    }

    fn places(found: &Found, services: &[ServiceConfig]) -> Vec<String> {
        let places = found.places(&services[0].replica[0]);
        places.into_iter().map(|(endpoint, name)| format!("{} as {name}", endpoint.host)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_until_it_is_known() {
        let name = Name::default();
        let (mut found, services) = name.found();
        assert!(timeout(DNS_EVERY * 3, found.changed()).await.is_err());
        assert!(places(&found, &services).is_empty());
        name.is(Some(&["10.0.0.1", "fd00::1"]));
        timeout(DNS_EVERY * 2, found.changed()).await.expect("it is asked for again");
        let expected = ["10.0.0.1 as models.example", "fd00::1 as models.example"];
        assert_eq!(places(&found, &services), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_come_and_go_but_not_when_nobody_can_be_asked() {
        let name = Name::default();
        name.is(Some(&["10.0.0.1", "10.0.0.2"]));
        let (mut found, services) = name.found();
        found.changed().await;
        name.is(Some(&["10.0.0.2", "10.0.0.3"]));
        found.changed().await;
        let expected = ["10.0.0.2 as models.example", "10.0.0.3 as models.example"];
        assert_eq!(places(&found, &services), expected);
        name.is(None);
        assert!(timeout(DNS_EVERY * 10, found.changed()).await.is_err());
        assert_eq!(places(&found, &services), expected, "what was found before stays");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_longer_asked_for_is_forgotten() {
        let name = Name::default();
        name.is(Some(&["10.0.0.1"]));
        let (mut found, services) = name.found();
        found.changed().await;
        found.follow(&[]);
        assert!(places(&found, &services).is_empty());
        name.is(Some(&["10.0.0.2"]));
        assert!(timeout(DNS_EVERY * 3, found.changed()).await.is_err());
    }
}
