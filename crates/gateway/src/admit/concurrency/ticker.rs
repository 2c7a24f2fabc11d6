//! Looks at all replicas ten times a second and sets their limits.

use super::control::Controller;
use super::seen::Seen;
use crate::route::Entry;
use crate::shared::Shared;
use evenkeel_domain::settings::Protocol;
use evenkeel_domain::{Replica, clock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two looks. A burst is let through at twice its size each time.
const TICK: Duration = Duration::from_millis(100);

/// Runs for as long as its worker.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut controllers = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let table = shared.table.load_full();
        look(table.entries(), &mut controllers, clock::now());
    }
}

/// One look at all replicas of a table.
pub(super) fn look(
    entries: &[Arc<Entry>],
    controllers: &mut HashMap<u64, Controller>,
    now: Instant,
) {
    let mut seen = 0;
    for entry in entries {
        let pool = &entry.service.pool;
        let mut more = false;
        for replica in pool.members().iter() {
            seen += 1;
            more |= look_at(entry, replica, controllers, now);
        }
        if more {
            pool.improved();
        }
        entry.queue.tick(now);
    }
    if controllers.len() > seen {
        let known = |key: &u64| {
            entries.iter().any(|e| e.service.pool.members().iter().any(|r| r.id.key == *key))
        };
        controllers.retain(|key, _| known(key));
    }
}

/// True when the replica may have more than before.
fn look_at(
    entry: &Entry,
    replica: &Replica,
    controllers: &mut HashMap<u64, Controller>,
    now: Instant,
) -> bool {
    let settings = &entry.service.settings;
    let room = &replica.live.room;
    let before = room.limit();
    if !settings.concurrency.adaptive {
        controllers.remove(&replica.id.key);
        room.set_limit(0);
        return before != 0;
    }
    let comparable = matches!(settings.protocol, Protocol::Openai | Protocol::Kserve);
    let controller =
        controllers.entry(replica.id.key).or_insert_with(|| Controller::new(comparable, now));
    if controller.look(&Seen::take(replica, now)) {
        room.count_from(clock::millis(now));
    }
    if controller.is_queued() {
        room.set_queued(now);
    }
    let limit = match (controller.limit(), settings.concurrency.max) {
        (found, 0) => found,
        (0, max) => max,
        (found, max) => found.min(max),
    };
    room.set_limit(limit);
    room.set_found(controller.is_found());
    before != 0 && (limit == 0 || limit > before)
}
