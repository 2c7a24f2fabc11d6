//! A service that this process serves itself, on another thread: files and batches.
//!
//! It is reached as any replica is, but it is one of a kind: always held to be well (who is
//! in this process dies with it), asked once, never waited for, and no model service.

use crate::admit::queue::Queue;
use crate::balance;
use crate::route::{Entry, prefix_matches};
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::settings::{
    BalanceOptions, Concurrency, Deadlines, Hedge, Hold, Protocol, Resume, Retry, ServiceSettings,
    Tier,
};
use evenkeel_domain::transport::Dial;
use evenkeel_domain::{Endpoint, Health, Pool, Replica, Service, clock};
use std::sync::Arc;
use std::time::Duration;

/// An upload may take an hour in all, and its answer comes only then.
const LONGEST: Duration = Duration::from_secs(3900);
/// Bytes of a body that are held before the rest is passed on as it comes.
const HELD: u64 = 64 << 10;

/// Such a service.
#[derive(Debug, Clone)]
pub struct Within {
    paths: &'static [&'static str],
    pub(crate) entry: Arc<Entry>,
}

impl Within {
    /// A service for these path prefixes, whose requests have `max_body` bytes at most.
    #[must_use]
    pub fn new(
        name: &str,
        paths: &'static [&'static str],
        max_body: u64,
        dial: Arc<dyn Dial>,
    ) -> Self {
        let settings = settings(name, max_body);
        let (_, least_requests) = balance::POLICIES[0];
        let policy = least_requests(&settings.balance_options);
        let pool = Arc::new(Pool::new(name.into()));
        pool.set_members(vec![Arc::new(replica(name, dial))]);
        let queue = Queue::of(&pool);
        let entry = Entry { service: Service { settings, pool }, policy, within: true, queue };
        Self { paths, entry: Arc::new(entry) }
    }

    /// Whether a request for this path goes there.
    pub(crate) fn takes(&self, path: &str) -> bool {
        self.paths.iter().any(|prefix| prefix_matches(prefix, path))
    }
}

fn replica(name: &str, dial: Arc<dyn Dial>) -> Replica {
    let replica = Replica::new(Identity {
        // Keys of others count up from 1.
        key: u64::MAX,
        name: name.into(),
        name_hash: name_hash(name),
        service: name.into(),
        // For messages only: nobody connects to it.
        endpoint: Endpoint::loopback(0),
        revision: "".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: Vec::new(),
        h2: false,
        model: None,
        supervised: false,
        startup_deadline: None,
        standby: None,
        dial,
    });
    // The authority does not know it: nobody else will ever say anything of it.
    let now = clock::now();
    replica.live.set_health(Health::Healthy, false, "in this process".into(), now);
    replica
}

fn settings(name: &str, max_body: u64) -> ServiceSettings {
    ServiceSettings {
        name: name.into(),
        models: Vec::new(),
        aliases: Default::default(),
        tier: Tier::Core,
        protocol: Protocol::Openai,
        balance: String::new(),
        balance_options: BalanceOptions::default(),
        deadlines: Deadlines { first_byte: LONGEST, total: LONGEST, ..Deadlines::default() },
        retry: Retry { max_attempts: 1, ..Retry::default() },
        hold: Hold { time: Duration::ZERO, requests: 0 },
        concurrency: Concurrency { adaptive: false, ..Concurrency::default() },
        queue: Default::default(),
        hedge: Hedge { enabled: false, ..Hedge::default() },
        resume: Resume { enabled: false, ..Resume::default() },
        probe: Default::default(),
        ejection: Default::default(),
        answers: Default::default(),
        limits: Default::default(),
        slo: Default::default(),
        max_body,
        max_replay: HELD.min(max_body),
    }
}
