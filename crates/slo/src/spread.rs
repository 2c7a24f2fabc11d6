//! Times as they were: how many, half of them, nine in ten, the longest. A mean of repairs
//! misleads: nine of a minute and one of a day are no repairs of two and a half hours.

use std::time::Duration;

/// What is told of a set of times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half of them are at most this long.
    pub p50: Duration,
    /// Nine in ten are.
    pub p90: Duration,
    /// The longest.
    pub max: Duration,
}

/// The spread of times; `None` of none. Quantiles are nearest ranks: times that there were.
#[must_use]
pub fn of(mut times: Vec<Duration>) -> Option<Spread> {
    times.sort_unstable();
    let max = *times.last()?;
    let rank = |share: f64| {
        let nth = (share * times.len() as f64).ceil() as usize;
        times.get(nth.clamp(1, times.len()) - 1).copied().unwrap_or(max)
    };
    Some(Spread { count: times.len(), p50: rank(0.5), p90: rank(0.9), max })
}

/// When one failure began, and when it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Milliseconds since the Unix epoch.
    pub onset_ms: u64,
    /// `None` while it is not over.
    pub over_ms: Option<u64>,
}

/// The times up between failures: from the end of all that began before to the next onset.
/// Failures that overlap are one.
#[must_use]
pub fn between(mut failures: Vec<Failure>) -> Vec<Duration> {
    failures.sort_unstable_by_key(|failure| failure.onset_ms);
    let mut times = Vec::new();
    let mut over: Option<Option<u64>> = None;
    for failure in failures {
        match over {
            None => {}
            // Still open: nothing after it is between failures.
            Some(None) => break,
            Some(Some(before)) if failure.onset_ms > before => {
                times.push(Duration::from_millis(failure.onset_ms - before));
            }
            Some(Some(_)) => {}
        }
        let later = match (over.flatten(), failure.over_ms) {
            (Some(before), Some(end)) => Some(before.max(end)),
            (None, end) => end,
            (_, None) => None,
        };
        over = Some(later);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_would_mislead() {
        let minute = Duration::from_secs(60);
        let mut times = vec![minute; 9];
        times.push(Duration::from_secs(86_400));
        let spread = of(times).unwrap();
        assert_eq!((spread.count, spread.p50, spread.p90), (10, minute, minute));
        assert_eq!(spread.max, Duration::from_secs(86_400));
        assert_eq!(of(Vec::new()), None);
    }

    #[test]
    fn overlapping_failures_are_one() {
        let f = |onset_ms, over_ms| Failure { onset_ms, over_ms };
        let all = vec![f(900, Some(950)), f(0, Some(100)), f(50, Some(300)), f(400, Some(500))];
        let times: Vec<u128> = between(all).iter().map(Duration::as_millis).collect();
        assert_eq!(times, [100, 400]);
        assert!(between(vec![f(0, None), f(50, Some(60)), f(100, Some(110))]).is_empty());
        assert!(between(vec![f(0, Some(1))]).is_empty());
    }
}
