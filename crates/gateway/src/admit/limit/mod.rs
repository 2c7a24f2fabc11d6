//! Limits of keys, tenants and services: what a request takes of them when it is taken on,
//! and what it gives back once it is known what it took.
//!
//! ```text
//!  request ─► key ─► tenant ─► service        each: requests, tokens, streams
//!                      └ refuses: what the ones before have taken is given back
//!     │ taken on: one request, the tokens it will take about, a stream
//!     ▼
//!  answer ──► usage ─► the difference is given back, or owed
//! ```
//! Exact over all threads of a gateway, without a lock: see [`evenkeel_domain::account`].

mod bill;
mod headers;

use crate::error::Refusal;
pub(crate) use bill::{Bill, Ended};
use evenkeel_domain::Account;
use evenkeel_domain::settings::Quota;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Whose limits hold for a request.
#[derive(Debug, Default)]
pub(crate) struct Levels(SmallVec<[Level; 3]>);

/// One of them.
#[derive(Debug, Clone)]
struct Level {
    whose: Whose,
    quota: Quota,
    account: Arc<Account>,
}

/// Whose a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Key,
    Tenant,
    Service,
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Requests,
    Tokens,
    Streams,
}

/// A limit that stands in a request's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) what: What,
    whose: Whose,
    name: Arc<str>,
    limit: u64,
    /// Tokens that are asked for.
    tokens: u64,
    /// When to come again; `None` when it is of no use.
    pub(crate) retry: Option<Duration>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ask {
    /// Tokens of its prompt, about.
    pub(crate) prompt: u64,
    /// Tokens of prompt and answer, about; 0 for what is no matter of tokens.
    pub(crate) tokens: u64,
    /// Whether it asks for a stream.
    pub(crate) stream: bool,
}

/// When to come again for a stream: nobody knows when one ends.
const STREAM_ENDS: Duration = Duration::from_secs(1);

impl Levels {
    /// Adds one. What has no limit counts all the same.
    pub(crate) fn push(&mut self, whose: Whose, quota: Quota, account: &Arc<Account>) {
        self.0.push(Level { whose, quota, account: account.clone() });
    }

    /// Takes what a request asks for of each of them, or nothing of any.
    pub(super) fn take(&self, ask: Ask, now: Instant) -> Result<(), Limited> {
        let taken = self.0.iter().enumerate().try_for_each(|(at, level)| {
            level.take(ask, now).inspect_err(|_| {
                self.0.iter().take(at).for_each(|before| before.give_back(ask));
            })
        });
        for level in &self.0 {
            let counts = &level.account.counts;
            let count = if taken.is_ok() { &counts.requests } else { &counts.refused };
            count.fetch_add(1, Relaxed);
        }
        taken
    }
}

impl Level {
    fn take(&self, ask: Ask, now: Instant) -> Result<(), Limited> {
        let account = &self.account;
        if let Some(most) = self.quota.tokens_per_minute.filter(|most| ask.tokens > *most) {
            return Err(self.limited(What::Tokens, most, ask, None));
        }
        if let Some(rate) = self.quota.requests_per_minute {
            let wait = account.requests.take(rate, 1, now);
            wait.map_err(|wait| self.limited(What::Requests, rate, ask, Some(wait)))?;
        }
        if let Some(rate) = self.quota.tokens_per_minute
            && let Err(wait) = account.tokens.take(rate, ask.tokens, now)
        {
            self.give_back_request();
            return Err(self.limited(What::Tokens, rate, ask, Some(wait)));
        }
        if ask.stream && !account.enter_stream(self.quota.streams) {
            self.give_back_request();
            self.give_back_tokens(ask.tokens);
            let most = self.quota.streams.unwrap_or(u32::MAX).into();
            return Err(self.limited(What::Streams, most, ask, Some(STREAM_ENDS)));
        }
        Ok(())
    }

    fn limited(&self, what: What, limit: u64, ask: Ask, retry: Option<Duration>) -> Limited {
        let (whose, name) = (self.whose, self.account.name.clone());
        Limited { what, whose, name, limit, tokens: ask.tokens, retry }
    }

    fn give_back(&self, ask: Ask) {
        self.give_back_request();
        self.give_back_tokens(ask.tokens);
        if ask.stream {
            self.account.leave_stream();
        }
    }

    fn give_back_request(&self) {
        if let Some(rate) = self.quota.requests_per_minute {
            self.account.requests.give_back(rate, 1);
        }
    }

    fn give_back_tokens(&self, tokens: u64) {
        if let Some(rate) = self.quota.tokens_per_minute {
            self.account.tokens.give_back(rate, tokens);
        }
    }
}

impl What {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Streams => "streams",
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Key => "key",
            Whose::Tenant => "tenant",
            Whose::Service => "service",
        };
        let Self { what, name, limit, tokens, .. } = self;
        let what = what.label();
        match (self.what, self.retry) {
            (What::Tokens, None) => write!(
                f,
                "This request may take {tokens} tokens, more than {whose} `{name}` has in a \
                 minute ({limit}). Shorten it, or ask for less with `max_tokens`"
            ),
            (What::Streams, _) => write!(
                f,
                "Rate limit reached for {whose} `{name}` on streams: {limit} at once. Try again \
                 when one has ended"
            ),
            (_, retry) => {
                write!(f, "Rate limit reached for {whose} `{name}` on {what}: {limit} a minute")?;
                if self.what == What::Tokens {
                    write!(f, ", and this request may take {tokens}")?;
                }
                let after = headers::spell(retry.unwrap_or_default());
                write!(f, ". Try again in {after}")
            }
        }
    }
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        Self::Limited(Box::new(limited))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use evenkeel_domain::clock;

    /// A refusal for tokens.
    pub(crate) fn limited(retry: Option<Duration>) -> Limited {
        let (what, whose) = (What::Tokens, Whose::Key);
        Limited { what, whose, name: "a".into(), limit: 10, tokens: 20, retry }
    }

    pub(super) fn levels(of: &[(Whose, Quota)]) -> Levels {
        let mut levels = Levels::default();
        for (whose, quota) in of {
            levels.push(*whose, *quota, &Arc::new(Account::new("a")));
        }
        levels
    }

    pub(super) fn quota(requests: u64, tokens: u64, streams: u32) -> Quota {
        Quota {
            requests_per_minute: Some(requests),
            tokens_per_minute: Some(tokens),
            streams: Some(streams),
        }
    }

    pub(super) fn left(levels: &Levels, at: usize, now: Instant) -> (u64, u64, u32) {
        let Level { quota, account, .. } = &levels.0[at];
        let requests = account.requests_left(quota, now).unwrap().remaining;
        (requests, account.tokens_left(quota, now).unwrap().remaining, account.streams())
    }

    #[test]
    fn a_refusal_by_one_takes_nothing_of_any() {
        let (wide, now) = (quota(100, 1000, 10), clock::now() + Duration::from_secs(1));
        let ask = Ask { prompt: 1, tokens: 10, stream: true };
        for (narrow, what) in [
            (quota(1, 1000, 10), What::Requests),
            (quota(100, 15, 10), What::Tokens),
            (quota(100, 1000, 1), What::Streams),
        ] {
            let of = [(Whose::Key, wide), (Whose::Tenant, narrow), (Whose::Service, wide)];
            let levels = levels(&of);
            levels.take(ask, now).unwrap();
            let before: Vec<_> = (0..3).map(|at| left(&levels, at, now)).collect();
            let limited = levels.take(ask, now).unwrap_err();
            assert_eq!((limited.what, limited.whose), (what, Whose::Tenant));
            assert!(limited.retry.is_some() && limited.to_string().contains(what.label()));
            let after: Vec<_> = (0..3).map(|at| left(&levels, at, now)).collect();
            assert_eq!(before, after);
            let counts = &levels.0[0].account.counts;
            assert_eq!((counts.requests.load(Relaxed), counts.refused.load(Relaxed)), (1, 1));
        }
    }

    #[test]
    fn what_never_fits_is_told_so() {
        let levels = levels(&[(Whose::Key, quota(1, 100, 1))]);
        let ask = Ask { prompt: 1, tokens: 101, stream: false };
        let limited = levels.take(ask, clock::now()).unwrap_err();
        assert_eq!((limited.what, limited.retry), (What::Tokens, None));
        assert!(limited.to_string().contains("101 tokens"), "{limited}");
    }
}
