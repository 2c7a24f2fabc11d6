//! Whether lines have to wait: people do, or nobody could answer.

use crate::gateway::source::GatewayState;
use evenkeel_domain::{Pool, Replica, clock};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often is looked: some atomics of each service.
const LOOK: Duration = Duration::from_millis(250);
/// How long a refusal counts.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Tells whether they do, until nobody listens.
pub(super) async fn watch(state: Arc<GatewayState>, busy: watch::Sender<bool>) {
    let mut look = Look::default();
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = busy.closed() => return,
        }
        let services = state.services();
        let now = look.at(services.iter().map(|(_, pool)| &**pool), clock::now());
        busy.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}

/// What was seen before.
#[derive(Default)]
struct Look {
    refused: Option<u64>,
    refused_at: Option<Instant>,
}

impl Look {
    /// Whether anybody waits or was refused, or would have to be. While no replica of any
    /// service takes traffic, as after a start, lines would only be refused, and pause for it.
    fn at<'a>(&mut self, pools: impl Iterator<Item = &'a Pool>, now: Instant) -> bool {
        let (mut waits, mut refused, mut open) = (false, 0, false);
        for pool in pools {
            refused += pool.counts.refused_for_room();
            open |= pool.open() > 0;
            waits |= pool.counts.held.load(Relaxed) > 0 || is_full(pool);
        }
        // Services may go with a reload, and their counts with them.
        if self.refused.replace(refused).is_some_and(|before| before < refused) {
            self.refused_at = Some(now);
        }
        let lately = |at: Instant| now.saturating_duration_since(at) < AFTER_REFUSAL;
        !open || waits || self.refused_at.is_some_and(lately)
    }
}

/// Whether people alone, or with what batches have under way, fill every replica. What is
/// full of lines only is not: the next line goes where one has ended.
fn is_full(pool: &Pool) -> bool {
    let members = pool.members();
    let full = |r: &Arc<Replica>| !r.has_room();
    let people = pool.counts.active.load(Relaxed) > pool.counts.internal.load(Relaxed);
    people && !members.is_empty() && members.iter().all(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::pool::Refused;
    use evenkeel_domain::replica::{Identity, name_hash};
    use evenkeel_domain::settings::Tier;
    use evenkeel_domain::{Endpoint, Health};
    use evenkeel_wire::TcpDialer;

    fn pool(bound: u32) -> (Pool, Arc<Replica>) {
        let endpoint = Endpoint::loopback(9);
        let replica = Arc::new(Replica::new(Identity {
            key: 1,
            name: "a-0".into(),
            name_hash: name_hash("a-0"),
            service: "a".into(),
            dial: Arc::new(TcpDialer::new(&endpoint)),
            endpoint,
            revision: "".into(),
            weight: 1.0,
            max_in_flight: bound,
            headers: Vec::new(),
            h2: false,
            model: None,
            supervised: false,
            startup_deadline: None,
            standby: None,
        }));
        replica.live.set_health(Health::Healthy, false, String::new(), clock::now());
        let pool = Pool::new("a".into());
        pool.set_members(vec![replica.clone()]);
        (pool, replica)
    }

    fn look(look: &mut Look, pool: &Pool, now: Instant) -> bool {
        look.at(std::iter::once(pool), now)
    }

    #[test]
    fn who_waits_or_was_refused_comes_first() {
        let (pool, _) = pool(0);
        let (mut seen, now) = (Look::default(), clock::now());
        pool.counts.refuse(Tier::Core, Refused::NoReplica);
        assert!(!look(&mut seen, &pool, now), "refused before anybody looked");
        pool.counts.held.store(1, Relaxed);
        assert!(look(&mut seen, &pool, now));
        pool.counts.held.store(0, Relaxed);
        assert!(!look(&mut seen, &pool, now));
        pool.counts.refuse(Tier::Core, Refused::NoReplica);
        assert!(look(&mut seen, &pool, now));
        assert!(look(&mut seen, &pool, now + AFTER_REFUSAL / 2));
        assert!(!look(&mut seen, &pool, now + AFTER_REFUSAL));
    }

    #[test]
    fn without_a_replica_nothing_is_sent() {
        let (pool, replica) = pool(0);
        let (mut seen, now) = (Look::default(), clock::now());
        replica.live.set_health(Health::Isolated, true, String::new(), now);
        assert!(look(&mut seen, &pool, now));
        replica.live.set_health(Health::Probation, false, String::new(), now);
        assert!(!look(&mut seen, &pool, now));
        assert!(Look::default().at(std::iter::empty(), now));
    }

    #[test]
    fn only_people_make_it_full() {
        let (pool, replica) = pool(2);
        let (mut seen, now) = (Look::default(), clock::now());
        for lines in 1..=2 {
            replica.live.enter();
            pool.counts.active.store(lines, Relaxed);
            pool.counts.internal.store(lines, Relaxed);
        }
        assert!(!look(&mut seen, &pool, now), "full of lines");
        pool.counts.internal.store(1, Relaxed);
        assert!(look(&mut seen, &pool, now));
        replica.live.leave();
        assert!(!look(&mut seen, &pool, now));
    }
}
