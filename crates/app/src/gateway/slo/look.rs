//! What services are at this moment: up, down, down as planned, or not known yet.

use super::super::overrides::{Overrides, RESTART};
use super::super::recovery::{OWNER, Recovery};
use evenkeel_domain::incident::{ALL_TARGETS, Pause};
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::{Health, Pool, Replica, clock};
use evenkeel_slo::account::Sample;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a gateway that has just begun may not know its replicas.
const NEW: Duration = Duration::from_secs(10);

/// What people have ordered.
struct Wanted {
    /// Replicas that a person has taken out of traffic.
    out: HashSet<String>,
    /// What a person wants left alone.
    pauses: Vec<Pause>,
}

impl Wanted {
    fn read(overrides: &Overrides, recovery: &Recovery) -> Self {
        let by_people = |owner: &str| owner != RESTART && !owner.starts_with(OWNER);
        let out = overrides.all().into_iter().filter(|order| by_people(&order.owner));
        let now = clock::unix_millis();
        let view = recovery.board.view();
        let pauses = view.standing.pauses.iter().filter(|pause| pause.until > now);
        Self { out: out.map(|order| order.replica).collect(), pauses: pauses.cloned().collect() }
    }

    fn covers(&self, replica: &Replica) -> bool {
        let names = [ALL_TARGETS, &*replica.id.service, &*replica.id.name];
        self.out.contains(&*replica.id.name)
            || self.pauses.iter().any(|pause| names.contains(&&*pause.target))
    }
}

/// Samples all services; `age` is how long this gateway has known them.
pub(in super::super) fn all(
    services: &[(Arc<ServiceSettings>, Arc<Pool>)],
    overrides: &Overrides,
    recovery: &Recovery,
    age: Duration,
) -> BTreeMap<String, Sample> {
    let down = services.iter().any(|(_, pool)| pool.open() == 0);
    // Read only when it matters: most of the time everything is up.
    let wanted = down.then(|| Wanted::read(overrides, recovery));
    let sample = |pool: &Pool| one(pool, wanted.as_ref(), age);
    services.iter().map(|(settings, pool)| (settings.name.clone(), sample(pool))).collect()
}

fn one(pool: &Pool, wanted: Option<&Wanted>, age: Duration) -> Sample {
    if pool.open() > 0 {
        return Sample::Up;
    }
    let members = pool.members();
    let mut on_duty = members.iter().filter(|replica| replica.live.duty().is_on()).peekable();
    let unjudged = members.iter().all(|replica| replica.live.health() == Health::Starting);
    if unjudged && age < NEW {
        return Sample::Unknown;
    }
    let Some(wanted) = wanted else { return Sample::Down };
    match on_duty.peek().is_some() && on_duty.all(|replica| wanted.covers(replica)) {
        true => Sample::Planned,
        false => Sample::Down,
    }
}
