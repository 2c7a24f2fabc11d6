//! Who is asked: replicas of one revision, each by one voice only.

use crate::error::Refusal;
use crate::exchange::Asker;
use crate::route::Entry;
use evenkeel_domain::answers::Quorum;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::{Gate, Pool, Replica, clock};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
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
        let mut place = None;
        loop {
            let better = pool.better.notified();
            tokio::pin!(better);
            // Listening before looking: what changes in between is not missed.
            better.as_mut().enable();
            let (revision, size) = largest(&pool.members(), clock::now());
            if size >= quorum.agree as usize {
                return Ok(Self { revision, asked: RefCell::default(), size });
            }
            let no = |why| {
                pool.counts.refuse(asker.tier, why);
                Refusal::Unavailable { service: pool.name.to_string(), why: lacks(quorum, size) }
            };
            if place.is_none() {
                let most = entry.service.settings.hold.requests;
                place = Some(Place::take(pool, most).ok_or_else(|| no(Refused::QueueFull))?);
            }
            if timeout_at(until.into(), better).await.is_err() {
                return Err(no(Refused::NoReplica));
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

/// A place among those that wait for several replicas; given back when dropped.
struct Place(Arc<Pool>);

impl Place {
    /// `None` when `most` wait already.
    fn take(pool: &Arc<Pool>, most: u32) -> Option<Self> {
        let more = |waiting: u32| (waiting < most).then(|| waiting + 1);
        pool.counts.gathering.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(pool.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.gathering.fetch_sub(1, Relaxed);
    }
}

fn lacks(quorum: &Quorum, size: usize) -> String {
    format!(
        "{} replicas must agree on its answers and only {size} of one revision can be asked",
        quorum.agree
    )
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
