//! What is kept: least recently used answers go first. Pure; `now` is passed in.
//!
//! Sharded, so that workers seldom wait for each other; a lock is held for a look-up or a
//! move of pointers, never while an answer is copied.

use super::form::Kept;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 8;
/// What an entry takes beside its key and answer.
const OVERHEAD: usize = 256;

/// What decides an answer, as bytes: compared whole, so that no two are mixed up.
pub(crate) type Key = Arc<[u8]>;

pub(crate) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    limit: AtomicU64,
    used: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, (u64, Arc<Kept>)>,
    /// By when they were last used.
    order: BTreeMap<u64, Key>,
    tick: u64,
    bytes: usize,
}

impl Store {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            limit: limit.into(),
            used: AtomicU64::new(0),
        }
    }

    /// Another limit from now on; what is too much goes when something is added.
    pub(crate) fn limit_to(&self, bytes: u64) {
        if self.limit.load(Relaxed) != bytes {
            self.limit.store(bytes, Relaxed);
        }
    }

    /// Largest entry: what one shard may hold.
    pub(crate) fn largest(&self) -> usize {
        usize::try_from(self.limit.load(Relaxed)).unwrap_or(usize::MAX) / SHARDS
    }

    /// Bytes kept.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Kept>> {
        self.with(key, |shard| {
            shard.tick += 1;
            let tick = shard.tick;
            let (key, (used, kept)) = shard.entries.get_key_value(key)?;
            let (key, used, kept) = (key.clone(), *used, kept.clone());
            shard.order.remove(&used);
            shard.order.insert(tick, key.clone());
            shard.entries.insert(key, (tick, kept.clone()));
            Some(kept)
        })
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.with(key, |shard| shard.remove(key));
    }

    /// Keeps an answer, in place of an older one; whatever was not used for longest goes.
    pub(crate) fn put(&self, key: Key, kept: Kept) {
        let weight = weight(&key, &kept);
        let most = self.largest();
        if weight > most {
            return;
        }
        self.with(&key.clone(), |shard| {
            shard.remove(&key);
            while shard.bytes + weight > most {
                let Some((_, oldest)) = shard.order.pop_first() else { break };
                shard.forget(&oldest);
            }
            shard.tick += 1;
            shard.order.insert(shard.tick, key.clone());
            shard.entries.insert(key, (shard.tick, Arc::new(kept)));
            shard.bytes += weight;
        });
    }

    fn with<T>(&self, key: &[u8], act: impl FnOnce(&mut Shard) -> T) -> T {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.bytes;
        let out = act(&mut shard);
        self.used.fetch_add(shard.bytes as u64, Relaxed);
        self.used.fetch_sub(before as u64, Relaxed);
        out
    }
}

impl Shard {
    fn remove(&mut self, key: &[u8]) {
        if let Some(tick) = self.forget(key) {
            self.order.remove(&tick);
        }
    }

    /// Removes all but its place in the order.
    fn forget(&mut self, key: &[u8]) -> Option<u64> {
        let (tick, kept) = self.entries.remove(key)?;
        self.bytes -= weight(key, &kept);
        Some(tick)
    }
}

fn weight(key: &[u8], kept: &Kept) -> usize {
    key.len() + kept.size() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::form::Form;
    use evenkeel_domain::clock;
    use proptest::prelude::*;

    fn kept(size: usize) -> Kept {
        Kept { form: Form::Verbatim(vec![b'x'; size].into()), kind: None, born: clock::now() }
    }

    fn key(n: u16) -> Key {
        n.to_be_bytes().to_vec().into()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let store = Store::new(8 * 8192);
        // Fills every shard several times over, while one key is used all the time.
        store.put(key(0), kept(700));
        for n in 1..400 {
            store.put(key(n), kept(700));
            assert!(store.get(&key(0)).is_some(), "{n}");
        }
        assert!(store.get(&key(1)).is_none() && store.get(&key(399)).is_some());
        assert!(store.used() <= 8 * 8192);
        store.put(key(7), kept(9000));
        assert!(store.get(&key(7)).is_none(), "too large for a shard");
    }

    proptest! {
        #[test]
        fn what_is_used_is_the_sum_of_what_is_there(
            steps in proptest::collection::vec((0u16..40, 0usize..3000, any::<bool>()), 0..200),
        ) {
            let store = Store::new(8 * 8192);
            for (n, size, remove) in steps {
                match remove {
                    true => store.remove(&key(n)),
                    false => store.put(key(n), kept(size)),
                }
                prop_assert!(store.used() <= 8 * 8192);
            }
            let mut there = 0;
            for n in 0..40 {
                if let Some(kept) = store.get(&key(n)) {
                    there += weight(&key(n), &kept) as u64;
                }
            }
            prop_assert_eq!(there, store.used());
            for shard in &store.shards {
                let shard = shard.lock().unwrap();
                prop_assert_eq!(shard.entries.len(), shard.order.len());
            }
        }
    }
}
