//! Deterministic answers, given again: exactly the same question, the same answer.
//!
//! ```text
//!  question ─► kept and fresh? ──yes──► hit
//!                 │ no
//!                 ├─ somebody asks the same now ──► share that attempt
//!                 └─ nobody: ask, share, keep
//! ```
//! Errors are never kept. What is too old is given only when nothing else can answer, and
//! marked.

pub(crate) mod flight;
pub(crate) mod form;
pub(crate) mod key;
mod store;

use crate::body::OutBody;
use bytes::Bytes;
use evenkeel_domain::answers::{Cache as Settings, STALE_MAX};
use evenkeel_domain::{Pool, clock};
use flight::{Flight, Reader};
use form::Kept;
use http::header::{AGE, CONTENT_TYPE, HeaderName, HeaderValue, WARNING};
use http::{HeaderMap, Response};
use key::Question;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use store::{Key, Store};

/// Tells whether an answer was kept.
pub(crate) const CACHE: HeaderName = HeaderName::from_static("x-evenkeel-cache");
/// Attempts that may be shared at once; more run each for itself.
const FLIGHTS: usize = 4096;

/// The caches of all services that want one.
#[derive(Default)]
pub struct Caches(Mutex<HashMap<Arc<str>, Arc<Cache>>>);

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").finish_non_exhaustive()
    }
}

impl Caches {
    /// The cache of a service. It outlives reloads, as its pool does.
    pub(crate) fn of(&self, pool: &Arc<Pool>, settings: &Settings) -> Arc<Cache> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cache =
            all.entry(pool.name.clone()).or_insert_with(|| Arc::new(Cache::new(settings, pool)));
        cache.store.limit_to(settings.bytes);
        cache.clone()
    }

    /// Drops those of services that want none any more.
    pub(crate) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, cache| {
            let keep = wanted(name);
            if !keep {
                cache.pool.counts.answers.cache_bytes.store(0, Relaxed);
            }
            keep
        });
    }
}

/// One service's cache.
pub(crate) struct Cache {
    store: Store,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    pool: Arc<Pool>,
}

/// A kept answer as it is given.
pub(crate) struct Hit {
    kind: HeaderValue,
    bytes: Bytes,
    age: u64,
    fresh: bool,
}

/// What part a request has in a shared attempt.
pub(crate) enum Part {
    /// It makes the attempt.
    Leads(Lead),
    /// It waits for another's.
    Follows(Reader),
}

impl Cache {
    fn new(settings: &Settings, pool: &Arc<Pool>) -> Self {
        Self { store: Store::new(settings.bytes), flights: Mutex::default(), pool: pool.clone() }
    }

    /// The kept answer, if it is young enough (or may be stale).
    pub(crate) fn get(
        &self,
        settings: &Settings,
        question: &Question,
        stale: bool,
        now: Instant,
    ) -> Option<Hit> {
        let kept = self.store.get(&question.key)?;
        let age = now.saturating_duration_since(kept.born);
        let fresh = age < settings.ttl;
        let most = if settings.stale { settings.ttl + STALE_MAX } else { settings.ttl };
        if age >= most {
            self.store.remove(&question.key);
            self.measure();
        }
        if age >= most || !(fresh || stale) {
            return None;
        }
        let (kind, bytes) = kept.give(question.wanted, question.stream)?;
        let counts = &self.pool.counts.answers;
        if fresh { &counts.cache_hits } else { &counts.cache_stale }.fetch_add(1, Relaxed);
        Some(Hit { kind, bytes, age: age.as_secs(), fresh })
    }

    /// Joins the attempt that is under way for this question, or begins one.
    pub(crate) fn part(self: &Arc<Self>, question: &Question) -> Part {
        let counts = &self.pool.counts.answers;
        counts.cache_misses.fetch_add(1, Relaxed);
        let mut flights = self.flights();
        let known = flights.get(&question.flight).filter(|_| !question.fresh);
        if let Some(reader) = known.and_then(Flight::join) {
            counts.cache_shared.fetch_add(1, Relaxed);
            return Part::Follows(reader);
        }
        let flight = Arc::<Flight>::default();
        let shared = flights.len() < FLIGHTS && !flights.contains_key(&question.flight);
        if shared {
            flights.insert(question.flight.clone(), flight.clone());
        }
        drop(flights);
        let (cache, question) = (self.clone(), question.clone());
        Part::Leads(Lead { cache, question, flight, shared })
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self) {
        self.pool.counts.answers.cache_bytes.store(self.store.used(), Relaxed);
    }
}

/// Who makes a shared attempt. Dropping it ends the attempt for all.
pub(crate) struct Lead {
    cache: Arc<Cache>,
    question: Question,
    flight: Arc<Flight>,
    shared: bool,
}

impl Lead {
    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Bytes up to which an answer is kept.
    pub(crate) fn keep(&self) -> usize {
        self.cache.store.largest().saturating_sub(self.question.key.len())
    }

    /// Keeps the answer, if it came whole.
    pub(crate) fn keep_whole(&self, kind: Option<HeaderValue>) {
        let Some(bytes) = self.flight.whole() else { return };
        let Question { key, wanted, stream, .. } = &self.question;
        let kept = Kept::new(bytes, kind, *wanted, *stream, clock::now());
        self.cache.store.put(key.clone(), kept);
        self.cache.measure();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flight.end(evenkeel_domain::Outcome::Cancelled);
        if self.shared {
            self.cache.flights().remove(&self.question.flight);
        }
    }
}

impl Hit {
    /// The answer, marked as a kept one.
    pub(crate) fn respond(self) -> Response<OutBody> {
        let mut response = Response::new(OutBody::full(self.bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind);
        headers.insert(AGE, self.age.into());
        mark(headers, if self.fresh { "hit" } else { "stale" });
        if !self.fresh {
            headers.insert(WARNING, HeaderValue::from_static("110 - \"Response is Stale\""));
        }
        response
    }
}

/// Says what the cache had to do with an answer.
pub(crate) fn mark(headers: &mut HeaderMap, how: &'static str) {
    headers.insert(CACHE, HeaderValue::from_static(how));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::Api;
    use std::time::Duration;

    fn question(flight: &[u8]) -> Question {
        Question {
            key: b"k"[..].into(),
            flight: flight.into(),
            wanted: Some(crate::render::Wanted { api: Api::Chat, usage: false }),
            stream: false,
            fresh: false,
        }
    }

    fn keep(cache: &Arc<Cache>) {
        let Part::Leads(lead) = cache.part(&question(b"f")) else { panic!("nobody asks") };
        lead.flight().push("{}".into(), lead.keep());
        lead.flight().end(evenkeel_domain::Outcome::Ok);
        lead.keep_whole(None);
    }

    #[test]
    fn answers_age_and_are_stale_only_where_that_is_wanted() {
        let mut settings = Settings::new(1 << 20, Duration::from_secs(60));
        settings.stale = true;
        let pool = Arc::new(Pool::new("s".into()));
        let cache = Caches::default().of(&pool, &settings);
        keep(&cache);
        let now = clock::now();
        let get = |stale, after| {
            let hit =
                cache.get(&settings, &question(b"f"), stale, now + Duration::from_secs(after));
            hit.map(|hit| hit.respond().headers()[CACHE].to_str().unwrap().to_owned())
        };
        assert_eq!(get(false, 59).as_deref(), Some("hit"));
        assert_eq!(get(false, 61), None);
        assert_eq!(get(true, 61).as_deref(), Some("stale"));
        assert!(pool.counts.answers.cache_bytes.load(Relaxed) > 0);
        assert_eq!(get(true, 61 + 24 * 3600), None);
        assert_eq!(pool.counts.answers.cache_bytes.load(Relaxed), 0);
    }

    #[test]
    fn an_attempt_is_shared_while_it_lasts() {
        let settings = Settings::new(1 << 20, Duration::from_secs(60));
        let pool = Arc::new(Pool::new("s".into()));
        let cache = Caches::default().of(&pool, &settings);
        let Part::Leads(lead) = cache.part(&question(b"f")) else { panic!("nobody asks") };
        let _reader = lead.flight().join();
        assert!(matches!(cache.part(&question(b"f")), Part::Follows(_)));
        assert!(matches!(cache.part(&question(b"g")), Part::Leads(_)));
        drop(lead);
        assert!(matches!(cache.part(&question(b"f")), Part::Leads(_)));
        assert_eq!(pool.counts.answers.cache_shared.load(Relaxed), 1);
    }
}
