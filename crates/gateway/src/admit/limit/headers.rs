//! `x-ratelimit-*`: how much a client may still ask for, as OpenAI's API says it.

use super::Levels;
use evenkeel_domain::account::Level;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cmp::Reverse;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Limit, remaining, reset.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

impl Levels {
    /// Says how much is left: of each kind, where it is least.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, now: Instant) {
        let requests = self.0.iter().filter_map(|l| l.account.requests_left(&l.quota, now));
        put(headers, REQUESTS, requests);
        let tokens = self.0.iter().filter_map(|l| l.account.tokens_left(&l.quota, now));
        put(headers, TOKENS, tokens);
    }
}

fn put(headers: &mut HeaderMap, names: Names, levels: impl Iterator<Item = Level>) {
    let Some(least) = levels.min_by_key(|level| (level.remaining, Reverse(level.reset))) else {
        return;
    };
    let [limit, remaining, reset] = names;
    headers.insert(limit, least.limit.into());
    headers.insert(remaining, least.remaining.into());
    if let Ok(value) = HeaderValue::from_str(&spell(least.reset)) {
        headers.insert(reset, value);
    }
}

/// `20ms`, `1.5s`, `6m0s`, `1h0m3s`: rounded up to a millisecond.
pub(super) fn spell(time: Duration) -> String {
    let ms = time.as_nanos().div_ceil(1_000_000);
    if ms < 1000 && ms > 0 {
        return format!("{ms}ms");
    }
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let mut out = String::new();
    // Writing to a string does not fail.
    if seconds >= 3600 {
        let _ = write!(out, "{}h", seconds / 3600);
    }
    if seconds >= 60 {
        let _ = write!(out, "{}m", seconds / 60 % 60);
    }
    let _ = write!(out, "{}", seconds % 60);
    if ms > 0 {
        out.push_str(format!(".{ms:03}").trim_end_matches('0'));
    }
    out.push('s');
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{levels, quota};
    use super::super::{Ask, Whose};
    use super::*;
    use evenkeel_domain::clock;
    use evenkeel_domain::settings::Quota;

    #[test]
    fn times_are_spelt_as_clients_read_them() {
        for (us, text) in [
            (0, "0s"),
            (1, "1ms"),
            (20_000, "20ms"),
            (999_001, "1s"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_000, "8.64s"),
            (59_999_999, "1m0s"),
            (360_000_000, "6m0s"),
            (3_603_000_000, "1h0m3s"),
        ] {
            assert_eq!(spell(Duration::from_micros(us)), text, "{us}");
        }
    }

    #[test]
    fn the_tightest_limit_is_told() {
        let now = clock::now() + Duration::from_secs(1);
        let all = [
            (Whose::Key, quota(10, 1000, 1)),
            (Whose::Tenant, Quota { requests_per_minute: Some(4), ..Quota::default() }),
            (Whose::Service, Quota { tokens_per_minute: Some(600), ..Quota::default() }),
        ];
        let levels = levels(&all);
        levels.take(Ask { prompt: 20, tokens: 100, stream: false }, now).unwrap();
        let mut headers = HeaderMap::new();
        levels.tell(&mut headers, now);
        let told = |name: &str| headers[format!("x-ratelimit-{name}").as_str()].to_str().unwrap();
        assert_eq!((told("limit-requests"), told("remaining-requests")), ("4", "3"));
        assert_eq!(told("reset-requests"), "15s");
        assert_eq!((told("limit-tokens"), told("remaining-tokens")), ("600", "500"));
        assert_eq!(told("reset-tokens"), "10s");
    }

    #[test]
    fn without_a_limit_nothing_is_told() {
        let mut headers = HeaderMap::new();
        levels(&[(Whose::Key, Quota::default())]).tell(&mut headers, clock::now());
        assert!(headers.is_empty());
    }
}
