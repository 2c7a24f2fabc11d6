//! Who is asked: replicas of one revision, each by one voice only.

use crate::error::Refusal;
use crate::exchange::Asker;
use crate::route::Entry;
use evenkeel_domain::answers::Quorum;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::{Gate, Replica, clock};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// The replicas of one vote.
pub(crate) struct Panel {
    revision: Arc<str>,
    asked: RefCell<Vec<u64>>,
    /// How many could be asked when it was put together.
    pub(super) size: usize,
}

impl Panel {
    /// Waits for enough replicas of one revision, as long as requests wait for one at all.
    pub(super) async fn gather(
        entry: &Entry,
        quorum: &Quorum,
        deadline: Instant,
        asker: &Asker,
    ) -> Result<Self, Refusal> {
        let pool = &entry.service.pool;
        let until = if asker.waits { deadline } else { clock::now() };
        let until = (clock::now() + entry.service.settings.hold.time).min(until);
        loop {
            let better = pool.better.notified();
            tokio::pin!(better);
            // Listening before looking: what changes in between is not missed.
            better.as_mut().enable();
            let (revision, size) = largest(&pool.members(), clock::now());
            if size >= quorum.agree as usize {
                return Ok(Self { revision, asked: RefCell::default(), size });
            }
            if timeout_at(until.into(), better).await.is_err() {
                pool.counts.refuse(asker.tier, Refused::NoReplica);
                return Err(Refusal::Unavailable {
                    service: pool.name.to_string(),
                    why: format!(
                        "{} replicas must agree on its answers and only {size} of one revision \
                         can be asked",
                        quorum.agree
                    ),
                });
            }
        }
    }

    /// Whether a voice may ask this replica.
    pub(crate) fn admits(&self, replica: &Replica) -> bool {
        *replica.id.revision == *self.revision && !self.asked.borrow().contains(&replica.id.key)
    }

    /// A voice asks it.
    pub(crate) fn takes(&self, key: u64) {
        self.asked.borrow_mut().push(key);
    }
}

/// The revision with the most replicas that can be asked, and how many they are.
fn largest(members: &[Arc<Replica>], now: Instant) -> (Arc<str>, usize) {
    let mut counted: HashMap<&Arc<str>, usize> = HashMap::new();
    for replica in members {
        let can = replica.live.gate() <= Gate::LastResort && replica.has_room();
        if can && !replica.live.is_busy(now) {
            *counted.entry(&replica.id.revision).or_default() += 1;
        }
    }
    // Of two that are as large the one with the later name, which is the same for all.
    let best = counted.into_iter().max_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)));
    best.map_or_else(|| ("".into(), 0), |(revision, size)| (revision.clone(), size))
}
